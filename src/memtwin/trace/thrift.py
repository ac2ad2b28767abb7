# SPDX-License-Identifier: LGPL-2.1-or-later
"""Thrift's compact protocol, as far as Parquet's headers and footers use it: apache/thrift,
doc/specs/thrift-compact-protocol.md."""

from __future__ import annotations

_MAX_DEPTH = 12
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


class Thrift:
    """Reads values from bytes that may be anything. at: how far it has read; what: the bytes' name in errors.

    ValueError: they are cut short, nest too deep, or are no such protocol.
    """

    def __init__(self, text: bytes, what: str) -> None:
        self._text = text
        self._what = what
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """The fields of a struct by number: numbers, structs and lists; of the rest only the length matters (None)."""
        fields: dict[int, object] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._zigzag()
            fields[number] = self._value(byte & 15, depth + 1)
        return fields

    def _byte(self) -> int:
        if self.at >= len(self._text):
            raise ValueError(f"{self._what} is cut short")
        self.at += 1
        return self._text[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError(f"{self._what} holds a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, count: int) -> None:
        if count > len(self._text) - self.at:
            raise ValueError(f"{self._what} is cut short")
        self.at += count

    def _value(self, kind: int, depth: int) -> object:
        if depth > _MAX_DEPTH:
            raise ValueError(f"{self._what} nests too deep")
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth)
        if kind == _LIST:
            return self._list(depth)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in _FIXED:
            self._skip(_FIXED[kind])
        else:  # Parquet has no sets or maps
            raise ValueError(f"{self._what} holds a value of type {kind}")
        return None

    def _list(self, depth: int) -> list[object]:
        byte = self._byte()
        count, kind = byte >> 4, byte & 15
        count = self._varint() if count == 15 else count
        if count > len(self._text) - self.at:
            raise ValueError(f"{self._what} is cut short")
        if kind in (_TRUE, _FALSE):  # in a list they have a byte each
            kind = _BYTE
        return [self._value(kind, depth + 1) for _ in range(count)]
