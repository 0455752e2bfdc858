"""A Bluetooth controller on the air: bumble's, with what it says of advertisements put right.

bumble 0.0.236 reports every advertisement as connectable, at -50 dBm, and a second time as if it were its own
scan response; the real scan response never comes. It does not say when an attempt to connect has been
cancelled. Nor does it leave gaps between scan windows: who scans hears everything that reaches it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from bumble import hci
from bumble.controller import AdvertisingSet, Controller

if TYPE_CHECKING:
    from gasan.boards.air_link import AirLink

__all__ = ["AirController"]

_Kind = hci.HCI_LE_Extended_Advertising_Report_Event.EventType
_RESPONSE = 4  # a scan response, as MicroPython counts kinds
_KINDS = {
    0: _Kind.CONNECTABLE_ADVERTISING | _Kind.SCANNABLE_ADVERTISING,
    2: _Kind.SCANNABLE_ADVERTISING,
    3: _Kind(0),
    _RESPONSE: _Kind.SCANNABLE_ADVERTISING | _Kind.SCAN_RESPONSE,
}
_Properties = hci.HCI_LE_Set_Extended_Advertising_Parameters_Command.AdvertisingProperties


class AirController(Controller):
    """A controller whose link is an `AirLink`."""

    active_scan = False
    connections_most = 7  # a usual adapter's

    def on_hci_le_set_extended_scan_parameters_command(self, command: Any) -> Any:
        self.active_scan = bool(command.scan_types and command.scan_types[0])
        return super().on_hci_le_set_extended_scan_parameters_command(command)

    def on_hci_le_set_scan_parameters_command(self, command: Any) -> Any:
        self.active_scan = bool(command.le_scan_type)
        return super().on_hci_le_set_scan_parameters_command(command)

    def on_hci_le_create_connection_command(self, command: Any) -> Any:
        return None if self._is_full(command) else super().on_hci_le_create_connection_command(command)

    def on_hci_le_extended_create_connection_command(self, command: Any) -> Any:
        return (
            None if self._is_full(command) else super().on_hci_le_extended_create_connection_command(command)
        )

    def _is_full(self, command: Any) -> bool:
        """Whether it keeps as many connections as it can; the host is told so (Vol 4, Part E, 7.8.12)."""
        if len(self.le_connections) < self.connections_most:
            return False
        self._send_hci_command_status(hci.HCI_ErrorCode.CONNECTION_LIMIT_EXCEEDED_ERROR, command.op_code)
        return True

    def on_hci_le_create_connection_cancel_command(self, command: Any) -> Any:
        answer = super().on_hci_le_create_connection_cancel_command(command)
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is not None:
            asyncio.get_running_loop().call_soon(self._cancelled, pending.peer_address)
        return answer

    def _cancelled(self, peer: hci.Address) -> None:
        """The connection that was to be made has failed (Vol 4, Part E, 7.8.13)."""
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=peer.address_type,
                peer_address=peer,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            )
        )

    def on_advertising_pdu(self, pdu: Any) -> None:
        scanning = self.le_scan_enable
        if scanning:
            self._report(pdu)
        self.le_scan_enable = False
        try:
            super().on_advertising_pdu(pdu)  # periodic advertising and connections
        finally:
            self.le_scan_enable = scanning

    def hear(self, sender: hci.Address, kind: int, rssi: int, data: bytes) -> None:
        """What is on the air without a controller: reported, if this one listens."""
        if self.le_scan_enable and (kind != _RESPONSE or self.active_scan):
            self._send_report(sender, _KINDS[kind] | _Kind.LEGACY_ADVERTISING_PDU_USED, rssi, data)

    def _report(self, pdu: Any) -> None:
        link = cast("AirLink", self.link)
        kind, response = _Kind.LEGACY_ADVERTISING_PDU_USED, b""
        found = _advertising_set(pdu)
        if found is not None and found.parameters is not None:
            properties = found.parameters.advertising_event_properties
            if properties & _Properties.CONNECTABLE_ADVERTISING:
                kind |= _Kind.CONNECTABLE_ADVERTISING
            if properties & _Properties.SCANNABLE_ADVERTISING:
                kind |= _Kind.SCANNABLE_ADVERTISING
                response = bytes(found.scan_response_data)
        rssi = link.rssi(pdu.advertiser_address, self.random_address)
        self._send_report(pdu.advertiser_address, kind, rssi, pdu.data)
        if response and self.active_scan:
            self._send_report(pdu.advertiser_address, kind | _Kind.SCAN_RESPONSE, rssi, response)

    def _send_report(self, sender: hci.Address, kind: int, rssi: int, data: bytes) -> None:
        report = hci.HCI_LE_Extended_Advertising_Report_Event.Report(
            event_type=kind,
            address_type=sender.address_type,
            address=sender,
            primary_phy=hci.Phy.LE_1M,
            secondary_phy=hci.Phy.LE_1M,
            advertising_sid=0,
            tx_power=0x7F,
            rssi=rssi,
            periodic_advertising_interval=0,
            direct_address_type=0,
            direct_address=hci.Address.ANY,
            data=data,
        )
        self.send_hci_packet(hci.HCI_LE_Extended_Advertising_Report_Event([report]))


def _advertising_set(pdu: Any) -> AdvertisingSet | None:
    """Whose advertisement this is."""
    for found in pdu.sender.advertising_sets.values():
        if found.address == pdu.advertiser_address:
            return cast("AdvertisingSet", found)
    return None
