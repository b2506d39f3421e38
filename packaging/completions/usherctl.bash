# SPDX-License-Identifier: MIT
# bash completion of usherctl(8). What there is usherctl says itself: see --complete.

_usherctl() {
	local words cword lines
	# An address has colons; bash takes them for the ends of words.
	_get_comp_words_by_ref -n := words cword
	mapfile -t lines < <("$1" --complete -- "${words[@]:1:cword}" 2>/dev/null)
	COMPREPLY=()
	case ${lines[0]-} in
	:files | :folders)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen "$([ "${lines[0]}" = :files ] && echo -f || echo -d)" -- "$2")
		;;
	*) COMPREPLY=("${lines[@]%%$'\t'*}") ;;
	esac
} && complete -F _usherctl usherctl
