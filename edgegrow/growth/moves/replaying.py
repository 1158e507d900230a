"""A network's structure made again from the records of what growth has done to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgegrow.errors import InputError
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.moves.insertion import Insertion, fresh_block, insert_blocks
from edgegrow.growth.moves.kernels import find_trim, narrow_kernels
from edgegrow.growth.moves.places import find_places, find_pools


def replay(network: NetworkTrace, records: Iterable[Mapping[str, Any]]) -> NetworkTrace:
    """Restructure a network as `Insertion.to_json` recorded it; weights are loaded afterwards.

    Blocks are inserted fresh and in order. Kernels are narrowed first, whenever they were: blocks bring none
    that could be, and need no more than shapes, which stay.

    Parameters
    ----------
    network : NetworkTrace
        As it was before all of them, at whatever widths.
    records : iterable of mapping
        The records.

    Returns
    -------
    NetworkTrace
        With the same names of modules and groups as the recorded one.

    Raises
    ------
    InputError
        If a record is not one of this network's.
    """
    places = {place.insertion: place for place in (*find_places(network), *find_pools(network))}
    known, insertions = [*places, *find_trim(network)], list[Insertion]()
    for record in records:
        found = next((insertion for insertion in known if insertion.to_json() == dict(record)), None)
        if found is None:
            raise InputError(
                f"insertion {dict(record)}: the network has no such place: take the record of this network"
            )
        insertions.append(found)
    chosen = [places[insertion] for insertion in insertions if insertion in places]
    if len(chosen) < len(insertions):
        network = narrow_kernels(network)
    if not chosen:
        return network
    blocks = [fresh_block(network, place) for place in chosen]
    return insert_blocks(network, [place.insertion for place in chosen], blocks)
