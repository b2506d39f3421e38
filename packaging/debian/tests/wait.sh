# SPDX-License-Identifier: MIT
# wait_for WHAT COMMAND...: until the command succeeds, for ten seconds at most.
wait_for() {
	what=$1
	tries=100
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		if [ $tries -eq 0 ]; then
			echo "waited in vain for $what" >&2
			exit 1
		fi
		sleep 0.1
	done
}
