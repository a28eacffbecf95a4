"""Commands that take numbers, of which some are negative, and options, of which some are mistyped."""

import re
from typing import Any

import click

_NEGATIVE = re.compile(r"-(\d|\.\d|inf\b|nan\b)")


class NumbersCommand(click.Command):
    """A command in which a word that looks like a negative number is a value, and any other with a dash an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words; one that is neither an option nor a value is refused by its name."""
        ctx.ignore_unknown_options = True
        named, left, _ = self.make_parser(ctx).parse_args(list(args))
        arguments = [named.get(str(param.name)) for param in self.params if isinstance(param, click.Argument)]
        words: list[Any] = [*arguments, *left]
        for word in words:
            if isinstance(word, str) and word.startswith("-") and not _NEGATIVE.match(word):
                options = [name for param in self.params for name in (*param.opts, *param.secondary_opts)]
                raise click.NoSuchOption(word.partition("=")[0], possibilities=options, ctx=ctx)
        return super().parse_args(ctx, args)
