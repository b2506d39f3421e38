# SPDX-License-Identifier: MIT
# fish completion of usherctl(8). What there is usherctl says itself: see --complete.

function __usherctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] --complete -- $words[2..-1] 2>/dev/null)
    switch "$lines[1]"
        case :files
            __fish_complete_path $words[-1]
        case :folders
            __fish_complete_directories $words[-1]
        case '*'
            printf '%s\n' $lines
    end
end

complete -c usherctl -f -a '(__usherctl_complete)'
