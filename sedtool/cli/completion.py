"""`sedtool completion`: the script that completes names of commands and options in a shell."""

import click
from click.shell_completion import get_completion_class

from sedtool.cli.console import write_stdout

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete by TAB.

    It completes commands, options, and names such as those of poolings and presets.

    \b
    bash: sedtool completion bash > ~/.local/share/bash-completion/completions/sedtool
    zsh:  sedtool completion zsh > "${fpath[1]}/_sedtool"; in ~/.zshrc: compinit
    fish: sedtool completion fish > ~/.config/fish/completions/sedtool.fish

    \b
    Example: sedtool completion bash > ~/.local/share/bash-completion/completions/sedtool
    """
    maker = get_completion_class(shell)
    if maker is None:
        raise click.UsageError(f"this version of Click does not complete in {shell}")
    write_stdout(maker(ctx.find_root().command, {}, "sedtool", "_SEDTOOL_COMPLETE").source())
