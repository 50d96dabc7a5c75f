"""Where a processor's texts stand in a document, and where their vectors go. Pure: no model is called here.

Rules: contract/processors.md section 6. A field map is a tree: an inner node follows a field of the document, a leaf
names the target beside the text. `{"m.t": "v"}` and `{"m": {"t": "v"}}` are the same tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from bridge.errors import InvalidRequest

Tree: TypeAlias = dict[str, Any]
Where: TypeAlias = tuple[str | int, ...]
Take: TypeAlias = Callable[[str, Where], Any]

LIST_KEY = "knn"


def tree_of(field_map: Mapping[str, Any]) -> Tree:
    """The tree of a configured field map. Raises ValueError when a key or a target cannot be used."""
    if not field_map:
        raise ValueError("empty")
    tree: Tree = {}
    for key, target in field_map.items():
        parts = key.split(".")
        if not all(part.strip() for part in parts):
            raise ValueError(key)
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ValueError(key)
        _set_leaf(node, parts[-1], target)
    return tree


def _set_leaf(node: Tree, name: str, target: Any) -> None:
    if isinstance(target, Mapping):
        below = tree_of(target)
        known = node.setdefault(name, {})
        if not isinstance(known, dict):
            raise ValueError(name)
        known.update(below)
    elif isinstance(target, str) and target.strip() and all(target.split(".")):
        node[name] = target
    else:
        raise ValueError(name)


def embed(fields: Mapping[str, Any], tree: Tree, take: Take, where: Where = ()) -> dict[str, Any]:
    """A copy of `fields` with `take(text, where)` put at the target of each text, in the order of the field map.

    `where` is the path of the target. What the tree does not name is the same object as before. Raises
    InvalidRequest for a value that is neither text nor nested.
    """
    found = _unflattened(fields, tree)
    for name, target in tree.items():
        value = found.get(name)
        if value is None:
            continue
        if isinstance(target, dict):
            found[name] = _below(name, value, target, take, (*where, name))
            continue
        path = target.split(".")
        vector = _leaf(name, value, take, (*where, *path))
        if vector is not None:
            _put(found, path, vector)
    return found


def _below(name: str, value: Any, tree: Tree, take: Take, where: Where) -> Any:
    if isinstance(value, Mapping):
        return embed(value, tree, take, where)
    if isinstance(value, list):
        return [_element(name, item, tree, take, (*where, at)) for at, item in enumerate(value)]
    if isinstance(value, str):
        return value
    raise _neither(name)


def _element(name: str, item: Any, tree: Tree, take: Take, where: Where) -> Any:
    if isinstance(item, Mapping):
        return embed(item, tree, take, where)
    _check_element(name, item)
    return item


def _leaf(name: str, value: Any, take: Take, where: Where) -> Any:
    if isinstance(value, str):
        return take(value, where) if value.strip() else None
    if isinstance(value, list):
        return _list(name, value, take, where)
    if isinstance(value, Mapping):
        raise _mismatch(name)
    raise _neither(name)


def _list(name: str, items: Sequence[Any], take: Take, where: Where) -> Any:
    for item in items:
        if isinstance(item, Mapping):
            raise _mismatch(name)
        _check_element(name, item)
    if not items:
        return None
    return [{LIST_KEY: take(item, (*where, at, LIST_KEY))} for at, item in enumerate(items)]


def _check_element(name: str, item: Any) -> None:
    if item is None:
        raise InvalidRequest(f"list type field [{name}] has null, cannot process it")
    if isinstance(item, list):
        raise InvalidRequest(f"list type field [{name}] is nested list type, cannot process it")
    if not isinstance(item, str):
        raise InvalidRequest(f"list type field [{name}] has non string value, cannot process it")


def _neither(name: str) -> InvalidRequest:
    return InvalidRequest(f"map type field [{name}] is neither string nor nested type, cannot process it")


def _mismatch(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"[{name}] configuration doesn't match actual value type, configuration type is: java.lang.String, "
        "actual value type is: java.util.HashMap"
    )


def _put(fields: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        below = fields.get(part)
        fields[part] = dict(below) if isinstance(below, Mapping) else {}
        fields = fields[part]
    fields[path[-1]] = value


def _unflattened(fields: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """`fields` with those dotted keys taken apart that lie on a path of the tree; other dotted keys stay."""
    dotted = [key for key in fields if "." in key and _on_path(key.split("."), tree)]
    if not dotted:
        return dict(fields)
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if key in dotted:
            _put_below(found, key.split("."), value)
        elif isinstance(found.get(key), dict) and isinstance(value, Mapping):
            found[key] = {**value, **found[key]}
        else:
            found[key] = value
    return found


def _put_below(fields: dict[str, Any], path: Sequence[str], value: Any) -> None:
    held = fields.get(path[0])
    if held is not None and not isinstance(held, Mapping):
        # A text or list stands where an object would have to be: both cannot be kept, so the key stays as written.
        fields[".".join(path)] = value
        return
    _put(fields, path, value)


def _on_path(parts: Sequence[str], tree: Tree) -> bool:
    node: Any = tree
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def at(fields: Any, where: Where) -> Any:
    """The value at a path, or None."""
    for step in where:
        if isinstance(step, int):
            fields = fields[step] if isinstance(fields, list) and step < len(fields) else None
        else:
            fields = fields.get(step) if isinstance(fields, Mapping) else None
    return fields


def paths(tree: Tree, prefix: Where = ()) -> Iterator[Where]:
    """The source paths of a tree."""
    for name, below in tree.items():
        if isinstance(below, dict):
            yield from paths(below, (*prefix, name))
        else:
            yield (*prefix, name)
