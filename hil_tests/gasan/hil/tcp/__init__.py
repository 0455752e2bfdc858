"""A Modbus connection with seeded faults, over TCP or RTU over TCP.

`Stream` is one connection, pure, on any clock, as `gasan.hil.rs485.Bus` is a line; `TcpProxy` runs it between
real sockets, as `gasan.hil.rs485.Relay` does between ptys, with the same faults and the same questions.

    with TcpProxy(("192.168.0.20", 502), faults=[Fault(Kind.STRAY, 0.1)], seed=1) as proxy:
        ...  # a client on proxy.port
        print(proxy.injected())
"""

from gasan.hil.tcp.faults import TcpFaultPlan
from gasan.hil.tcp.proxy import TcpProxy
from gasan.hil.tcp.stream import Piece, Stream

__all__ = ["Piece", "Stream", "TcpFaultPlan", "TcpProxy"]
