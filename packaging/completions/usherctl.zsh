#compdef usherctl
# SPDX-License-Identifier: MIT
# zsh completion of usherctl(8). What there is usherctl says itself: see --complete.

local -a lines candidates
lines=("${(@f)$("${(Q)words[1]}" --complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
case $lines[1] in
'') return 1 ;;
:files) _files ;;
:folders) _files -/ ;;
*)
	lines=("${(@)lines//:/\\:}") # _describe has a colon before a description
	candidates=("${(@)lines/$'\t'/:}")
	_describe 'usherctl' candidates
	;;
esac
