"""`mgmt completion`, and what the scripts that it prints ask for at every press of Tab.

A script runs `mgmt` with the line so far in its environment. The first line of the answer is `words`, `folders` or
`files`; words follow it. Where mgmt has none, the shell completes files as it does for every other command.
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK

_BASH: Final = r"""
_mgmt_completion() {
    local answer kind line begun="${COMP_WORDS[COMP_CWORD]}" IFS=$'\n'
    COMPREPLY=()
    answer=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" _MGMT_COMPLETE=bash_complete "$1" 2>/dev/null)
    kind="${answer%%$'\n'*}"
    if [[ "$kind" == folders ]]; then
        compopt -o dirnames 2>/dev/null
    elif [[ "$kind" == words ]]; then
        while IFS= read -r line; do
            [[ "$begun" == [\"\']* ]] || printf -v line %q "$line"
            COMPREPLY+=("$line")
        done <<< "${answer#*$'\n'}"
    fi
}
complete -o bashdefault -o default -F _mgmt_completion mgmt
"""
"""Without words COMPREPLY stays empty, and bash then completes files: `-o default`. Runs in the bash 3.2 of macOS."""

_ZSH: Final = r"""#compdef mgmt
_mgmt_completion() {
    local -a answer items
    answer=("${(@f)$(env COMP_WORDS="${(pj:\n:)words}" COMP_CWORD=$((CURRENT-1)) _MGMT_COMPLETE=zsh_complete \
        ${words[1]} 2>/dev/null)}")
    items=("${(@)answer[2,-1]}")
    case "${answer[1]}" in
        words) _describe -V mgmt items ;;
        folders) _files -/ ;;
        *) _files ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _mgmt_completion "$@"
else
    compdef _mgmt_completion mgmt
fi
"""

_FISH: Final = r"""
function __mgmt_completion
    set -l line COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t)
    set -l answer (env $line _MGMT_COMPLETE=fish_complete mgmt 2>/dev/null)
    switch "$answer[1]"
        case words
            printf '%s\n' $answer[2..-1]
        case folders
            __fish_complete_directories (commandline -ct)
        case '*'
            __fish_complete_path (commandline -ct)
    end
end
complete --no-files --command mgmt --arguments '(__mgmt_completion)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@click.pass_obj
def completion(invocation: Invocation, shell: str) -> int:
    """Print the script that completes commands in a shell, with their options and names.

    Names of uploads come from what this machine has shown or uploaded lately. Where mgmt knows nothing, files are
    completed.

    \b
    Examples:
      eval "$(mgmt completion bash)"        in ~/.bashrc
      source <(mgmt completion zsh)         in ~/.zshrc, after compinit
      mgmt completion fish > ~/.config/fish/completions/mgmt.fish

    \b
    Exit codes: 0 printed, 2 no such shell.
    """
    invocation.output.line(SCRIPTS[shell].strip())
    return EXIT_OK


def answer_shells() -> None:
    """Have click answer the scripts above instead of its own."""
    for kind in (_AnswerBash, _AnswerZsh, _AnswerFish):
        add_completion_class(kind)


class _Answer(ShellComplete):
    """The answer to a shell of any kind."""

    def complete(self) -> str:
        """Answer with words, or with what the shell is to complete by itself."""
        items = self.get_completions(*self.get_completion_args())
        kinds = {item.type for item in items}
        if "dir" in kinds:
            return "folders"
        if not items or kinds != {"plain"}:
            return "files"
        return "\n".join(["words", *map(self.format_completion, items)])


class _AnswerBash(_Answer, BashComplete):
    def format_completion(self, item: CompletionItem[str]) -> str:
        return item.value


class _AnswerZsh(_Answer, ZshComplete):
    def format_completion(self, item: CompletionItem[str]) -> str:
        value = item.value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{value}:{item.help}" if item.help else value


class _AnswerFish(_Answer, FishComplete):
    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.value}\t{item.help}" if item.help else item.value
