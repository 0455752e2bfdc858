-- A database of version 1, as gasan wrote it; never to be changed (docs/database.md).
PRAGMA application_id = 1734439790;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE boot (                       -- one start of a node
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node,
    boot BLOB NOT NULL,                   -- 8 random bytes, new at every start
    stored TEXT NOT NULL DEFAULT '',      -- sequence numbers stored, as ranges: 0-57,60; outlives the rows
    gone TEXT NOT NULL DEFAULT '',        -- sequence numbers that tombstones gave up, likewise
    ordinal INTEGER,                      -- from its boot frame: order among the boots of the node
    reset_cause INTEGER,
    firmware TEXT,
    board TEXT,
    config_state INTEGER,                 -- 0 stable, 1 on trial, 2 rolled back
    closed INTEGER NOT NULL DEFAULT 0,    -- 1: the next boot's boot frame has told how it ended:
    last_seq INTEGER,                     --   its last sequence number, null when the node held nothing of it
    final_count INTEGER,                  --   and the readings committed in all, null likewise
    settled_seq INTEGER,                  -- the node said that it holds nothing before this sequence number
    settled_count INTEGER,                -- and the readings it had committed by then
    sampled INTEGER NOT NULL DEFAULT 0,   -- the highest figures the node has told, from status and health
    committed INTEGER NOT NULL DEFAULT 0,
    missed INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    uptime_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (node, boot)
);
INSERT INTO "boot" VALUES(1,1,X'85C924C3597164C4','0-5,7','5-6',1,1,'0.1.0','virtual',0,1,7,21,4,12,12,21,0,0,60000);
INSERT INTO "boot" VALUES(2,2,X'A6058A00581A22B2','0-1','',1,1,'0.1.0','virtual',0,0,NULL,NULL,NULL,NULL,0,2,0,0,0);
INSERT INTO "boot" VALUES(3,1,X'2DE50472433D2E44','0','',2,1,'0.1.0','virtual',0,0,NULL,NULL,NULL,NULL,0,0,0,0,0);
CREATE TABLE channel (                    -- a column: value = ((raw >> shift & mask) * num + off) / den
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL REFERENCES revision,
    number INTEGER NOT NULL,
    device TEXT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    type INTEGER NOT NULL,                -- gasan.wire.columns: 1 u16, 2 i16, 3 u32 ...
    num INTEGER NOT NULL,
    den INTEGER NOT NULL,
    off INTEGER NOT NULL,
    period_ms INTEGER NOT NULL,
    shift INTEGER NOT NULL,
    mask INTEGER NOT NULL,                -- -1: all bits
    label TEXT NOT NULL,                  -- a person's name for it, or empty
    UNIQUE (revision, number)
);
INSERT INTO "channel" VALUES(1,1,0,'meter','energy','kWh',3,1,100,0,1000,0,-1,'');
INSERT INTO "channel" VALUES(2,1,1,'meter','power','W',7,1,1,0,1000,0,-1,'');
INSERT INTO "channel" VALUES(3,1,2,'drive','state','',1,1,1,0,1000,0,-1,'');
INSERT INTO "channel" VALUES(4,1,3,'meter','total','Wh',5,1,1,0,1000,0,-1,'');
CREATE TABLE conflict (                   -- frames that contradict a stored one of the same identity
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    seq INTEGER NOT NULL,
    tag BLOB NOT NULL,
    received_ms INTEGER NOT NULL,         -- Unix time by the gateway's clock of that moment
    frame BLOB NOT NULL,
    UNIQUE (boot, seq, tag)
);
CREATE TABLE event (                      -- what health and crash frames said
    frame INTEGER PRIMARY KEY REFERENCES frame,
    body TEXT NOT NULL                    -- health: JSON object of counters by key; crash: the traceback
);
INSERT INTO "event" VALUES(5,'{"1": 12, "2": 12, "5": 0, "6": 0, "10": 4, "11": 60000}');
INSERT INTO "event" VALUES(6,'Traceback (most recent call last):
ValueError: sample');
CREATE TABLE frame (
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,                -- 0 data, 1 boot, 2 birth, 3 tombstone, 4 health, 5 crash
    count INTEGER NOT NULL,               -- readings in all earlier frames of the boot
    n INTEGER NOT NULL,                   -- readings in this frame
    mono INTEGER NOT NULL,                -- node-monotonic ms of its earliest sample
    span INTEGER NOT NULL,                -- ms from there to its latest sample
    revision INTEGER NOT NULL REFERENCES revision,
    size INTEGER NOT NULL,                -- bytes, MAC and header included
    tag BLOB NOT NULL,                    -- its MAC: the same identity with another tag is a conflict
    clock INTEGER REFERENCES node_clock,  -- what dates it, null while unknown
    UNIQUE (boot, seq)
);
INSERT INTO "frame" VALUES(1,1,0,1,0,0,0,0,1,81,X'25786DD799B76789',1);
INSERT INTO "frame" VALUES(2,1,1,2,0,0,0,0,1,173,X'719D89BACF7B9F96',1);
INSERT INTO "frame" VALUES(3,2,0,1,0,0,0,0,2,81,X'9F4877A57A71EFAC',NULL);
INSERT INTO "frame" VALUES(4,1,2,0,0,12,1000,2000,1,119,X'15B1E7BCF4870C0D',1);
INSERT INTO "frame" VALUES(5,1,3,4,12,0,60000,0,1,69,X'7157B35FD682DBEE',1);
INSERT INTO "frame" VALUES(6,1,4,5,12,0,0,0,1,107,X'6EF86988FF9EB786',1);
INSERT INTO "frame" VALUES(7,1,5,3,12,0,9000,0,1,79,X'248FC87FB4BA28E7',1);
INSERT INTO "frame" VALUES(8,1,7,0,20,1,70000,0,1,65,X'BB518D821D3BB1FF',1);
INSERT INTO "frame" VALUES(9,2,1,0,0,2,1000,1000,2,66,X'E96669E77FEF9163',NULL);
INSERT INTO "frame" VALUES(10,3,0,1,0,0,0,0,1,89,X'1B15FBA785987238',NULL);
CREATE TABLE gateway_clock (              -- gateway-monotonic to UTC: one row for each start of the machine
    id INTEGER PRIMARY KEY,
    machine_boot TEXT NOT NULL UNIQUE,
    mono_ms INTEGER NOT NULL,
    utc_ms INTEGER NOT NULL,
    synchronised INTEGER NOT NULL         -- 1 when the system said that its clock follows a time server
);
INSERT INTO "gateway_clock" VALUES(1,'machine-boot-1',1000000,1770000000000,1);
CREATE TABLE label (                      -- texts of enumerated values
    channel INTEGER NOT NULL REFERENCES channel,
    value INTEGER NOT NULL,               -- raw >> shift & mask
    text TEXT NOT NULL,
    PRIMARY KEY (channel, value)
) WITHOUT ROWID;
INSERT INTO "label" VALUES(3,0,'stopped');
INSERT INTO "label" VALUES(3,1,'running');
CREATE TABLE node (
    id INTEGER PRIMARY KEY,
    node_id BLOB NOT NULL UNIQUE,         -- 8 bytes: who signs
    name TEXT NOT NULL,                   -- the site file's name of it
    current INTEGER                       -- the boot of its last session (boot.id), null before the first
);
INSERT INTO "node" VALUES(1,X'F5B165224A58B791','press-1',NULL);
INSERT INTO "node" VALUES(2,X'1BCCCEA696762E61','press-2',NULL);
CREATE TABLE node_clock (                 -- node-monotonic of one boot to gateway-monotonic
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    from_ms INTEGER NOT NULL,             -- node time at which this row began to serve
    node_ms INTEGER NOT NULL,             -- node time of its latest estimate
    gateway INTEGER NOT NULL REFERENCES gateway_clock,
    gateway_ms INTEGER NOT NULL,
    err_ms INTEGER NOT NULL,              -- bound of the error at node_ms
    rate_ppb INTEGER NOT NULL,            -- by how much the gateway's clock runs faster than the node's
    drift_ppm INTEGER NOT NULL            -- the bound grows by this with the distance from node_ms
);
INSERT INTO "node_clock" VALUES(1,1,2000,2000,1,1002000,7,120,30);
CREATE TABLE quality (                    -- names of quality codes
    code INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);
INSERT INTO "quality" VALUES(0,'good');
INSERT INTO "quality" VALUES(1,'uncertain');
INSERT INTO "quality" VALUES(2,'uncertain/time');
INSERT INTO "quality" VALUES(3,'uncertain/suspect');
INSERT INTO "quality" VALUES(4,'uncertain/4');
INSERT INTO "quality" VALUES(5,'uncertain/5');
INSERT INTO "quality" VALUES(6,'uncertain/6');
INSERT INTO "quality" VALUES(7,'uncertain/7');
INSERT INTO "quality" VALUES(8,'uncertain/8');
INSERT INTO "quality" VALUES(9,'uncertain/9');
INSERT INTO "quality" VALUES(10,'uncertain/10');
INSERT INTO "quality" VALUES(11,'uncertain/11');
INSERT INTO "quality" VALUES(12,'uncertain/12');
INSERT INTO "quality" VALUES(13,'uncertain/13');
INSERT INTO "quality" VALUES(14,'uncertain/14');
INSERT INTO "quality" VALUES(15,'uncertain/15');
INSERT INTO "quality" VALUES(16,'uncertain/16');
INSERT INTO "quality" VALUES(17,'uncertain/17');
INSERT INTO "quality" VALUES(18,'uncertain/18');
INSERT INTO "quality" VALUES(19,'uncertain/19');
INSERT INTO "quality" VALUES(20,'uncertain/20');
INSERT INTO "quality" VALUES(21,'uncertain/21');
INSERT INTO "quality" VALUES(22,'uncertain/22');
INSERT INTO "quality" VALUES(23,'uncertain/23');
INSERT INTO "quality" VALUES(24,'uncertain/24');
INSERT INTO "quality" VALUES(25,'uncertain/25');
INSERT INTO "quality" VALUES(26,'uncertain/26');
INSERT INTO "quality" VALUES(27,'uncertain/27');
INSERT INTO "quality" VALUES(28,'uncertain/28');
INSERT INTO "quality" VALUES(29,'uncertain/29');
INSERT INTO "quality" VALUES(30,'uncertain/30');
INSERT INTO "quality" VALUES(31,'uncertain/31');
INSERT INTO "quality" VALUES(32,'bad/no-value');
INSERT INTO "quality" VALUES(33,'bad/range');
INSERT INTO "quality" VALUES(34,'bad/34');
INSERT INTO "quality" VALUES(35,'bad/35');
INSERT INTO "quality" VALUES(36,'bad/36');
INSERT INTO "quality" VALUES(37,'bad/37');
INSERT INTO "quality" VALUES(38,'bad/38');
INSERT INTO "quality" VALUES(39,'bad/39');
INSERT INTO "quality" VALUES(40,'bad/40');
INSERT INTO "quality" VALUES(41,'bad/41');
INSERT INTO "quality" VALUES(42,'bad/42');
INSERT INTO "quality" VALUES(43,'bad/43');
INSERT INTO "quality" VALUES(44,'bad/44');
INSERT INTO "quality" VALUES(45,'bad/45');
INSERT INTO "quality" VALUES(46,'bad/46');
INSERT INTO "quality" VALUES(47,'bad/47');
INSERT INTO "quality" VALUES(48,'bad/48');
INSERT INTO "quality" VALUES(49,'bad/49');
INSERT INTO "quality" VALUES(50,'bad/50');
INSERT INTO "quality" VALUES(51,'bad/51');
INSERT INTO "quality" VALUES(52,'bad/52');
INSERT INTO "quality" VALUES(53,'bad/53');
INSERT INTO "quality" VALUES(54,'bad/54');
INSERT INTO "quality" VALUES(55,'bad/55');
INSERT INTO "quality" VALUES(56,'bad/56');
INSERT INTO "quality" VALUES(57,'bad/57');
INSERT INTO "quality" VALUES(58,'bad/58');
INSERT INTO "quality" VALUES(59,'bad/59');
INSERT INTO "quality" VALUES(60,'bad/60');
INSERT INTO "quality" VALUES(61,'bad/61');
INSERT INTO "quality" VALUES(62,'bad/62');
INSERT INTO "quality" VALUES(63,'bad/63');
INSERT INTO "quality" VALUES(64,'bad/timeout');
INSERT INTO "quality" VALUES(65,'bad/crc');
INSERT INTO "quality" VALUES(66,'bad/answer');
INSERT INTO "quality" VALUES(67,'bad/67');
INSERT INTO "quality" VALUES(68,'bad/disconnected');
INSERT INTO "quality" VALUES(69,'bad/stale');
INSERT INTO "quality" VALUES(70,'bad/not-configured');
INSERT INTO "quality" VALUES(71,'bad/71');
INSERT INTO "quality" VALUES(72,'bad/72');
INSERT INTO "quality" VALUES(73,'bad/73');
INSERT INTO "quality" VALUES(74,'bad/74');
INSERT INTO "quality" VALUES(75,'bad/75');
INSERT INTO "quality" VALUES(76,'bad/76');
INSERT INTO "quality" VALUES(77,'bad/77');
INSERT INTO "quality" VALUES(78,'bad/78');
INSERT INTO "quality" VALUES(79,'bad/79');
INSERT INTO "quality" VALUES(80,'bad/exception');
INSERT INTO "quality" VALUES(81,'bad/illegal-function');
INSERT INTO "quality" VALUES(82,'bad/illegal-data-address');
INSERT INTO "quality" VALUES(83,'bad/illegal-data-value');
INSERT INTO "quality" VALUES(84,'bad/device-failure');
INSERT INTO "quality" VALUES(85,'bad/acknowledge');
INSERT INTO "quality" VALUES(86,'bad/device-busy');
INSERT INTO "quality" VALUES(87,'bad/negative-acknowledge');
INSERT INTO "quality" VALUES(88,'bad/memory-parity');
INSERT INTO "quality" VALUES(89,'bad/exception-9');
INSERT INTO "quality" VALUES(90,'bad/gateway-path-unavailable');
INSERT INTO "quality" VALUES(91,'bad/gateway-target-silent');
INSERT INTO "quality" VALUES(92,'bad/exception-12');
INSERT INTO "quality" VALUES(93,'bad/exception-13');
INSERT INTO "quality" VALUES(94,'bad/exception-14');
INSERT INTO "quality" VALUES(95,'bad/exception-15');
INSERT INTO "quality" VALUES(96,'bad/96');
INSERT INTO "quality" VALUES(97,'bad/97');
INSERT INTO "quality" VALUES(98,'bad/98');
INSERT INTO "quality" VALUES(99,'bad/99');
INSERT INTO "quality" VALUES(100,'bad/100');
INSERT INTO "quality" VALUES(101,'bad/101');
INSERT INTO "quality" VALUES(102,'bad/102');
INSERT INTO "quality" VALUES(103,'bad/103');
INSERT INTO "quality" VALUES(104,'bad/104');
INSERT INTO "quality" VALUES(105,'bad/105');
INSERT INTO "quality" VALUES(106,'bad/106');
INSERT INTO "quality" VALUES(107,'bad/107');
INSERT INTO "quality" VALUES(108,'bad/108');
INSERT INTO "quality" VALUES(109,'bad/109');
INSERT INTO "quality" VALUES(110,'bad/110');
INSERT INTO "quality" VALUES(111,'bad/111');
INSERT INTO "quality" VALUES(112,'bad/112');
INSERT INTO "quality" VALUES(113,'bad/113');
INSERT INTO "quality" VALUES(114,'bad/114');
INSERT INTO "quality" VALUES(115,'bad/115');
INSERT INTO "quality" VALUES(116,'bad/116');
INSERT INTO "quality" VALUES(117,'bad/117');
INSERT INTO "quality" VALUES(118,'bad/118');
INSERT INTO "quality" VALUES(119,'bad/119');
INSERT INTO "quality" VALUES(120,'bad/120');
INSERT INTO "quality" VALUES(121,'bad/121');
INSERT INTO "quality" VALUES(122,'bad/122');
INSERT INTO "quality" VALUES(123,'bad/123');
INSERT INTO "quality" VALUES(124,'bad/124');
INSERT INTO "quality" VALUES(125,'bad/125');
INSERT INTO "quality" VALUES(126,'bad/126');
INSERT INTO "quality" VALUES(127,'bad/127');
INSERT INTO "quality" VALUES(128,'bad/128');
INSERT INTO "quality" VALUES(129,'bad/129');
INSERT INTO "quality" VALUES(130,'bad/130');
INSERT INTO "quality" VALUES(131,'bad/131');
INSERT INTO "quality" VALUES(132,'bad/132');
INSERT INTO "quality" VALUES(133,'bad/133');
INSERT INTO "quality" VALUES(134,'bad/134');
INSERT INTO "quality" VALUES(135,'bad/135');
INSERT INTO "quality" VALUES(136,'bad/136');
INSERT INTO "quality" VALUES(137,'bad/137');
INSERT INTO "quality" VALUES(138,'bad/138');
INSERT INTO "quality" VALUES(139,'bad/139');
INSERT INTO "quality" VALUES(140,'bad/140');
INSERT INTO "quality" VALUES(141,'bad/141');
INSERT INTO "quality" VALUES(142,'bad/142');
INSERT INTO "quality" VALUES(143,'bad/143');
INSERT INTO "quality" VALUES(144,'bad/144');
INSERT INTO "quality" VALUES(145,'bad/145');
INSERT INTO "quality" VALUES(146,'bad/146');
INSERT INTO "quality" VALUES(147,'bad/147');
INSERT INTO "quality" VALUES(148,'bad/148');
INSERT INTO "quality" VALUES(149,'bad/149');
INSERT INTO "quality" VALUES(150,'bad/150');
INSERT INTO "quality" VALUES(151,'bad/151');
INSERT INTO "quality" VALUES(152,'bad/152');
INSERT INTO "quality" VALUES(153,'bad/153');
INSERT INTO "quality" VALUES(154,'bad/154');
INSERT INTO "quality" VALUES(155,'bad/155');
INSERT INTO "quality" VALUES(156,'bad/156');
INSERT INTO "quality" VALUES(157,'bad/157');
INSERT INTO "quality" VALUES(158,'bad/158');
INSERT INTO "quality" VALUES(159,'bad/159');
INSERT INTO "quality" VALUES(160,'bad/160');
INSERT INTO "quality" VALUES(161,'bad/161');
INSERT INTO "quality" VALUES(162,'bad/162');
INSERT INTO "quality" VALUES(163,'bad/163');
INSERT INTO "quality" VALUES(164,'bad/164');
INSERT INTO "quality" VALUES(165,'bad/165');
INSERT INTO "quality" VALUES(166,'bad/166');
INSERT INTO "quality" VALUES(167,'bad/167');
INSERT INTO "quality" VALUES(168,'bad/168');
INSERT INTO "quality" VALUES(169,'bad/169');
INSERT INTO "quality" VALUES(170,'bad/170');
INSERT INTO "quality" VALUES(171,'bad/171');
INSERT INTO "quality" VALUES(172,'bad/172');
INSERT INTO "quality" VALUES(173,'bad/173');
INSERT INTO "quality" VALUES(174,'bad/174');
INSERT INTO "quality" VALUES(175,'bad/175');
INSERT INTO "quality" VALUES(176,'bad/176');
INSERT INTO "quality" VALUES(177,'bad/177');
INSERT INTO "quality" VALUES(178,'bad/178');
INSERT INTO "quality" VALUES(179,'bad/179');
INSERT INTO "quality" VALUES(180,'bad/180');
INSERT INTO "quality" VALUES(181,'bad/181');
INSERT INTO "quality" VALUES(182,'bad/182');
INSERT INTO "quality" VALUES(183,'bad/183');
INSERT INTO "quality" VALUES(184,'bad/184');
INSERT INTO "quality" VALUES(185,'bad/185');
INSERT INTO "quality" VALUES(186,'bad/186');
INSERT INTO "quality" VALUES(187,'bad/187');
INSERT INTO "quality" VALUES(188,'bad/188');
INSERT INTO "quality" VALUES(189,'bad/189');
INSERT INTO "quality" VALUES(190,'bad/190');
INSERT INTO "quality" VALUES(191,'bad/191');
INSERT INTO "quality" VALUES(192,'bad/192');
INSERT INTO "quality" VALUES(193,'bad/193');
INSERT INTO "quality" VALUES(194,'bad/194');
INSERT INTO "quality" VALUES(195,'bad/195');
INSERT INTO "quality" VALUES(196,'bad/196');
INSERT INTO "quality" VALUES(197,'bad/197');
INSERT INTO "quality" VALUES(198,'bad/198');
INSERT INTO "quality" VALUES(199,'bad/199');
INSERT INTO "quality" VALUES(200,'bad/200');
INSERT INTO "quality" VALUES(201,'bad/201');
INSERT INTO "quality" VALUES(202,'bad/202');
INSERT INTO "quality" VALUES(203,'bad/203');
INSERT INTO "quality" VALUES(204,'bad/204');
INSERT INTO "quality" VALUES(205,'bad/205');
INSERT INTO "quality" VALUES(206,'bad/206');
INSERT INTO "quality" VALUES(207,'bad/207');
INSERT INTO "quality" VALUES(208,'bad/208');
INSERT INTO "quality" VALUES(209,'bad/209');
INSERT INTO "quality" VALUES(210,'bad/210');
INSERT INTO "quality" VALUES(211,'bad/211');
INSERT INTO "quality" VALUES(212,'bad/212');
INSERT INTO "quality" VALUES(213,'bad/213');
INSERT INTO "quality" VALUES(214,'bad/214');
INSERT INTO "quality" VALUES(215,'bad/215');
INSERT INTO "quality" VALUES(216,'bad/216');
INSERT INTO "quality" VALUES(217,'bad/217');
INSERT INTO "quality" VALUES(218,'bad/218');
INSERT INTO "quality" VALUES(219,'bad/219');
INSERT INTO "quality" VALUES(220,'bad/220');
INSERT INTO "quality" VALUES(221,'bad/221');
INSERT INTO "quality" VALUES(222,'bad/222');
INSERT INTO "quality" VALUES(223,'bad/223');
INSERT INTO "quality" VALUES(224,'bad/224');
INSERT INTO "quality" VALUES(225,'bad/225');
INSERT INTO "quality" VALUES(226,'bad/226');
INSERT INTO "quality" VALUES(227,'bad/227');
INSERT INTO "quality" VALUES(228,'bad/228');
INSERT INTO "quality" VALUES(229,'bad/229');
INSERT INTO "quality" VALUES(230,'bad/230');
INSERT INTO "quality" VALUES(231,'bad/231');
INSERT INTO "quality" VALUES(232,'bad/232');
INSERT INTO "quality" VALUES(233,'bad/233');
INSERT INTO "quality" VALUES(234,'bad/234');
INSERT INTO "quality" VALUES(235,'bad/235');
INSERT INTO "quality" VALUES(236,'bad/236');
INSERT INTO "quality" VALUES(237,'bad/237');
INSERT INTO "quality" VALUES(238,'bad/238');
INSERT INTO "quality" VALUES(239,'bad/239');
INSERT INTO "quality" VALUES(240,'bad/240');
INSERT INTO "quality" VALUES(241,'bad/241');
INSERT INTO "quality" VALUES(242,'bad/242');
INSERT INTO "quality" VALUES(243,'bad/243');
INSERT INTO "quality" VALUES(244,'bad/244');
INSERT INTO "quality" VALUES(245,'bad/245');
INSERT INTO "quality" VALUES(246,'bad/246');
INSERT INTO "quality" VALUES(247,'bad/247');
INSERT INTO "quality" VALUES(248,'bad/248');
INSERT INTO "quality" VALUES(249,'bad/249');
INSERT INTO "quality" VALUES(250,'bad/250');
INSERT INTO "quality" VALUES(251,'bad/251');
INSERT INTO "quality" VALUES(252,'bad/252');
INSERT INTO "quality" VALUES(253,'bad/253');
INSERT INTO "quality" VALUES(254,'bad/254');
INSERT INTO "quality" VALUES(255,'bad/255');
CREATE TABLE revision (                   -- one compiled config of a node
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node,
    revision BLOB NOT NULL,               -- first 8 bytes of the config's SHA-256
    UNIQUE (node, revision)
);
INSERT INTO "revision" VALUES(1,1,X'698BDBC38BCDBC17');
INSERT INTO "revision" VALUES(2,2,X'A12D08F9353DA57D');
CREATE TABLE sample (
    id INTEGER PRIMARY KEY,               -- frame id << 16 | index in the frame
    channel INTEGER NOT NULL REFERENCES channel,
    dt INTEGER NOT NULL,                  -- ms after frame.mono
    raw,                                  -- INTEGER; decimal TEXT beyond signed 64 bits; a float's BLOB; null
    quality INTEGER NOT NULL DEFAULT 0,
    value REAL                            -- only where the view cannot compute it exactly
);
INSERT INTO "sample" VALUES(262144,1,0,100,0,NULL);
INSERT INTO "sample" VALUES(262145,1,1000,105,0,NULL);
INSERT INTO "sample" VALUES(262146,1,2000,NULL,64,NULL);
INSERT INTO "sample" VALUES(262147,2,0,X'3FC00000',0,1.5);
INSERT INTO "sample" VALUES(262148,2,1000,X'7FC00000',0,NULL);
INSERT INTO "sample" VALUES(262149,2,2000,X'C0100000',0,-2.25);
INSERT INTO "sample" VALUES(262150,3,0,0,0,NULL);
INSERT INTO "sample" VALUES(262151,3,1000,1,1,NULL);
INSERT INTO "sample" VALUES(262152,3,2000,1,0,NULL);
INSERT INTO "sample" VALUES(262153,4,0,'18446744073709551615',0,1.84467440737095516156e+19);
INSERT INTO "sample" VALUES(262154,4,1000,5,0,NULL);
INSERT INTO "sample" VALUES(262155,4,2000,6,0,NULL);
INSERT INTO "sample" VALUES(524288,1,0,200,0,NULL);
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id BLOB NOT NULL,               -- 8 random bytes: what nodes know this database by
    created_ms INTEGER NOT NULL           -- Unix time by the gateway's clock of that moment
);
INSERT INTO "store" VALUES(1,X'DC67908C2C1BE871',1795246016830);
CREATE TABLE tally (                      -- frames that were not stored
    node INTEGER NOT NULL,                -- node.id, 0 while no known node
    what TEXT NOT NULL,                   -- received_again, conflict, bad_mac, bad_shape, unknown_key
    n INTEGER NOT NULL,
    PRIMARY KEY (node, what)
) WITHOUT ROWID;
INSERT INTO "tally" VALUES(0,'bad_shape',1);
CREATE TABLE tombstone (                  -- frames that a node had to give up
    frame INTEGER PRIMARY KEY REFERENCES frame,
    boot INTEGER NOT NULL REFERENCES boot,
    reason INTEGER NOT NULL,              -- 1 spool overflow, 2 torn, 3 unsendable
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    n INTEGER NOT NULL,                   -- readings in them
    mono_from INTEGER NOT NULL,
    mono_to INTEGER NOT NULL,
    channels TEXT NOT NULL                -- JSON: [[channel number, readings], ...]
);
INSERT INTO "tombstone" VALUES(7,1,1,5,6,8,5000,9000,'[[0, 4], [1, 4]]');
CREATE TABLE undecoded (                  -- data frames whose channels have no meaning yet
    frame INTEGER PRIMARY KEY REFERENCES frame,
    payload BLOB NOT NULL
);
INSERT INTO "undecoded" VALUES(9,X'870048A6058A00581A22B201001903E848A12D08F9353DA57D81850002001903E881820701');
CREATE INDEX frame_undated ON frame (boot) WHERE clock IS NULL;
CREATE INDEX node_clock_boot ON node_clock (boot, node_ms);
CREATE VIEW readings AS 
SELECT
    node.name AS node,
    channel.device AS device,
    channel.name AS channel,
    node_clock.gateway_ms + (frame.mono + sample.dt - node_clock.node_ms) + (frame.mono + sample.dt - node_clock.node_ms) * node_clock.rate_ppb / 1000000000 + gateway_clock.utc_ms - gateway_clock.mono_ms AS time_ms,
    node_clock.err_ms
        + (abs(frame.mono + sample.dt - node_clock.node_ms) * node_clock.drift_ppm + 999999) / 1000000
        AS time_err_ms,
    CASE
        WHEN sample.quality >= 32 THEN NULL
        WHEN typeof(sample.raw) <> 'integer' OR sample.value IS NOT NULL THEN sample.value
        ELSE CAST(((sample.raw >> channel.shift) & channel.mask) * channel.num + channel.off AS REAL)
            / channel.den
    END AS value,
    sample.raw AS raw,
    CASE
        WHEN sample.quality >= 32 THEN NULL
        WHEN typeof(sample.raw) = 'integer' THEN
            (SELECT label.text FROM label WHERE label.channel = sample.channel
             AND label.value = ((sample.raw >> channel.shift) & channel.mask))
    END AS text,
    channel.unit AS unit,
    coalesce((SELECT quality.name FROM quality WHERE quality.code = sample.quality),
             'code ' || sample.quality) AS quality,
    lower(hex(boot.boot)) AS boot,
    frame.seq AS seq
FROM node
CROSS JOIN boot ON boot.node = node.id
CROSS JOIN frame ON frame.boot = boot.id
LEFT JOIN node_clock ON node_clock.id = frame.clock
LEFT JOIN gateway_clock ON gateway_clock.id = node_clock.gateway
CROSS JOIN sample
    ON sample.id >= (frame.id << 16) AND sample.id < ((frame.id + 1) << 16)
CROSS JOIN channel ON channel.id = sample.channel;
COMMIT;
