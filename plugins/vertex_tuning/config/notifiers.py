"""The notifier classes that tunings name: imported, checked and created.

To check a class, its package is imported. The DAGs of tunings never do that: `vertex-tuning lint` and `check_tunings`
check notifiers, and the task that sends a message imports them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets
from vertex_tuning.text.suggestions import did_you_mean

if TYPE_CHECKING:
    from airflow.sdk.bases.notifier import BaseNotifier

    from vertex_tuning.config.notify import Notification
    from vertex_tuning.config.tuning import Tuning

READY_MADE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("subject", "title"), "{{ notification.subject }}"),
    **dict.fromkeys(("text", "body", "message"), "{{ notification.text }}"),
    "html_content": "{{ notification.html }}",
}
"""Templates for the arguments that hold a message, where a file gives none.

A template names the message and does not contain it: Airflow would render what a model answered as a template.
"""

INSTEAD_OF_HTML: Final = "template"
"""Argument of the SMTP notifier: a file with the text, which it reads if it gets no `html_content`."""


def create_notifier(notification: Notification) -> BaseNotifier:
    """The notifier of a notification, with the ready-made message where the file gives none.

    :raises ConfigurationError: there is no such class, or it does not take the arguments. The message has a line for
        each mistake, which begins with its field
    """
    kind = _notifier_class(notification.notifier)
    given = notification.arguments
    arguments: dict[str, Any] = {**_ready_made(kind, given), **given}
    try:
        return kind(**arguments)
    except Exception as error:  # a class may refuse its arguments with any error
        raise ConfigurationError("\n".join(_argument_mistakes(kind, given, error))) from error


def notifier_mistakes(tunings: Iterable[Tuning]) -> Iterator[str]:
    """Mistakes in the notifier classes of tunings and in their arguments, one line each."""
    for tuning in tunings:
        for index, notification in enumerate(tuning.notify):
            try:
                create_notifier(notification)
            except ConfigurationError as error:
                for mistake in str(error).splitlines():
                    line = without_secrets(f"tunings/{tuning.name}: notify[{index}].{mistake}")
                    yield plain(line, MESSAGE_SHOWN)


def _ready_made(kind: type[BaseNotifier], given: Mapping[str, Any]) -> dict[str, str]:
    taken = _parameters(kind).keys() & set(kind.template_fields)
    missing = {name: text for name, text in READY_MADE.items() if name in taken and name not in given}
    if INSTEAD_OF_HTML in given:
        missing.pop("html_content", None)
    return missing


def _notifier_class(path: str) -> type[BaseNotifier]:
    """Import a notifier class.

    :raises ConfigurationError: there is no such class, or it is no notifier
    """
    from airflow.sdk.bases.notifier import BaseNotifier

    module_path, _, name = path.rpartition(".")
    try:
        module = import_module(module_path)
    except Exception as error:  # a module may raise any error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(
            f"notifier: found {path!r}, whose module cannot be imported ({reason}); expected a class of an installed "
            "package."
        ) from error
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, BaseNotifier):
        return found
    known = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module_path]
    expected = did_you_mean(name, known) if found is None and known else "expected a subclass of BaseNotifier."
    raise ConfigurationError(f"notifier: found {path!r}, which is no notifier class of Airflow; {expected}")


def _argument_mistakes(kind: type[BaseNotifier], given: Mapping[str, Any], error: Exception) -> Iterator[str]:
    """Why a class refused its arguments. No value is quoted: it may be a password."""
    known = _parameters(kind)
    unknown = [name for name in given if name not in known]
    needed = [name for name, parameter in known.items() if parameter.default is inspect.Parameter.empty]
    missing = [name for name in needed if name not in given and name not in _ready_made(kind, given)]
    for name in unknown:
        yield f"arguments.{name}: found an argument that {kind.__name__} does not take; {did_you_mean(name, known)}"
    for name in missing:
        yield f"arguments.{name}: found nothing, expected a value: {kind.__name__} requires it."
    if not unknown and not missing:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield f"arguments: {kind.__name__} refuses them ({reason}); expected arguments that it takes."


def _parameters(kind: type[BaseNotifier]) -> dict[str, inspect.Parameter]:
    """Parameters of a class by name, with those of the base classes to which it passes `**kwargs` on."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(islice(inspect.signature(vars(base)["__init__"]).parameters.values(), 1, None))
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        found = {**{parameter.name: parameter for parameter in own if parameter.kind in named}, **found}
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in own):
            break
    found.pop("context", None)  # of the base class; a message gets it when it is sent
    return found
