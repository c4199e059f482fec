# SPDX-License-Identifier: GPL-2.0-or-later
# Ratios of one run in one guest, each the least of several rounds: what else runs on the host only adds.
. /lib/case.sh

patch=$(basename "$KO_demo" .ko)

# least <rounds> <times> <command...>: microseconds of one call, in the fastest round.
least() {
	_rounds=$1
	_times=$2
	shift 2
	_least=
	while [ "$_rounds" -gt 0 ]; do
		_start=$(date +%s%N)
		_n=$_times
		while [ "$_n" -gt 0 ]; do
			"$@" >/dev/null 2>&1
			_n=$((_n - 1))
		done
		_took=$((($(date +%s%N) - _start) / _times / 1000))
		[ -n "$_least" ] && [ "$_least" -le $_took ] || _least=$_took
		_rounds=$((_rounds - 1))
	done
	echo "$_least"
}

systemctl is-system-running --wait >/dev/null
kpatch install "$KO_demo" >/dev/null
kpatch load "$KO_demo" >/dev/null
true_us=$(least 7 20 /bin/true)
ours_us=$(least 7 20 kpatch list)
original_us=$(least 3 2 /usr/local/lib/original/kpatch list)
echo "# one patch loaded and installed, microseconds: /bin/true $true_us, kpatch list $ours_us, the original $original_us"
check "list costs at most 1.5 times /bin/true" [ "$ours_us" -le $((true_us * 3 / 2)) ]
check "list costs at most a tenth of the original" [ $((ours_us * 10)) -le "$original_us" ]

# What load adds: its time less that of the insertion and of the waiting. strace stops it at these calls only.
kpatch unload "$patch" >/dev/null
own_us=
for _round in 1 2 3 4 5 6 7; do
	strace -f --seccomp-bpf -qq -ttt -T -e trace=execve,finit_module,clock_nanosleep,exit_group -o /tmp/trace \
		kpatch load "$KO_demo" >/dev/null
	kpatch unload "$patch" >/dev/null
	# Lines `PID TIME call(...) = RESULT <SECONDS>`.
	_own=$(awk '
		/ execve\(/ && !start { start = $2 }
		/ finit_module\(| clock_nanosleep\(/ { gsub(/[<>]/, "", $NF); outside += $NF; calls++ }
		/ exit_group\(/ { end = $2 }
		END { if (calls && end) printf "%d", (end - start - outside) * 1000000; else print "unknown" }' /tmp/trace)
	echo "# load, microseconds of its own: $_own"
	[ -n "$own_us" ] && [ "$own_us" -le "$_own" ] || own_us=$_own
done
keep trace /tmp/trace
check "load adds at most 20 ms of its own" [ "$own_us" -le 20000 ]
