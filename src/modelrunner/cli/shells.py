"""What each shell needs in order to ask us: a function around `PROGRAM __complete WORDS... TYPED`. Pure text.

The last line of an answer is `:` and a sum: 2 for no space after the word, 4 for no file names.
Candidates may have a description after a tab.
Source: the protocol of cobra 1.10, which docker itself speaks to its plug-ins.
"""

_BASH = r"""# bash completion for %(program)s
_%(name)s_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" typed lines directive prefix candidate
    local -a words
    read -ra words <<<"$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    typed="${words[-1]}"
    COMPREPLY=()
    mapfile -t lines < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    [[ ${#lines[@]} -gt 0 ]] || return
    directive="${lines[-1]#:}"
    unset 'lines[-1]'
    # Readline has broken the word at colons and equal signs, and only replaces what is behind the last one.
    prefix=""
    if [[ "$typed" == *[:=]* ]]; then prefix="${typed%%"${typed##*[:=]}"}"; fi
    for candidate in "${lines[@]}"; do
        candidate="${candidate%%%%$'\t'*}"
        COMPREPLY+=("${candidate#"$prefix"}")
    done
    if ((directive & 2)); then compopt -o nospace; fi
    if ((directive & 4)); then compopt +o default; fi
}
complete -o default -F _%(name)s_complete %(program)s
"""

_ZSH = r"""#compdef %(program)s
# zsh completion for %(program)s
_%(name)s_complete() {
    local -a lines candidates flags
    local line directive word
    lines=("${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    directive="${lines[-1]#:}"
    lines[-1]=()
    for line in "${lines[@]}"; do
        word="${line%%%%$'\t'*}"
        if [[ "$line" == *$'\t'* ]]; then
            candidates+=("${word//:/\\:}:${line#*$'\t'}")
        else
            candidates+=("${word//:/\\:}")
        fi
    done
    (( directive & 2 )) && flags=(-S '')
    if (( ${#candidates} )); then
        _describe '%(program)s' candidates "${flags[@]}"
    elif (( ! (directive & 4) )); then
        _files
    fi
}
if [[ "${funcstack[1]}" == "_%(name)s_complete" || "${funcstack[1]}" == "_%(program)s" ]]; then
    _%(name)s_complete "$@"
else
    compdef _%(name)s_complete %(program)s
fi
"""

_FISH = r"""# fish completion for %(program)s
function __%(name)s_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] "$typed" 2>/dev/null)
    test (count $lines) -gt 0; or return
    set -l directive (string replace ':' '' -- $lines[-1])
    set -e lines[-1]
    if test (count $lines) -gt 0
        printf '%%s\n' $lines
    else if test (math "floor($directive / 4) %% 2") -eq 0
        __fish_complete_path "$typed"
    end
end
complete -c %(program)s -f -a '(__%(name)s_complete)'
"""

_POWERSHELL = r"""# PowerShell completion for %(program)s
Register-ArgumentCompleter -Native -CommandName '%(program)s' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
        ForEach-Object { $_.Extent.Text.Trim("'", '"') })
    $typed = "$wordToComplete"
    # Before version 7.3 an empty argument of a program gets lost unless it is quoted twice.
    $last = if ($typed) { $typed } elseif ($PSVersionTable.PSVersion -lt [version]'7.3') { '""' } else { '' }
    $before = @($words | Select-Object -Skip 1)
    if ($typed -and $before.Count) { $before = @($before | Select-Object -SkipLast 1) }
    $lines = @(& $words[0] __complete @before $last 2>$null)
    if (-not $lines.Count -or $lines[-1] -notmatch '^:[0-9]+$') { return }
    $directive = [int]$lines[-1].Substring(1)
    $offers = @($lines | Select-Object -SkipLast 1)
    # After nothing at all PowerShell offers files; an empty text, which is no result, keeps it from that.
    if (-not $offers.Count -and ($directive -band 4)) { return '' }
    $offers | ForEach-Object {
        $name, $about = $_ -split "`t", 2
        if (-not $about) { $about = $name }
        [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $about)
    }
}
"""

SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "powershell": _POWERSHELL}

# How a shell gets it: for this session, and for every one.
HOW = {
    "bash": ("source <(%(program)s completion bash)", "the same line in ~/.bashrc"),
    "zsh": ("source <(%(program)s completion zsh)", "the same line in ~/.zshrc, after compinit"),
    "fish": (
        "%(program)s completion fish | source",
        "%(program)s completion fish > ~/.config/fish/completions/%(program)s.fish",
    ),
    "powershell": (
        "%(program)s completion powershell | Out-String | Invoke-Expression",
        "the same line in the file that $PROFILE names",
    ),
}


def script(shell: str, program: str) -> str:
    """The script of a shell for a program of this name."""
    return SHELLS[shell] % {"program": program, "name": program.replace("-", "_")}


def instructions(program: str) -> str:
    """For each shell what to type, and what to keep."""
    words = {"program": program}
    return "\n".join(
        f"  {shell:<11} {now % words}\n  {'':<11} for every session: {ever % words}"
        for shell, (now, ever) in HOW.items()
    )
