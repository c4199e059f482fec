# SPDX-License-Identifier: GPL-2.0-or-later
# Ratios of one run in one guest, each the least of several rounds: what else runs on the host only adds. Addresses are
# not random: an emulator without KVM keeps translated code by its address, and a program that lies elsewhere in each run
# would be translated anew in each.
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
echo 0 >/proc/sys/kernel/randomize_va_space
mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null
mount -t debugfs nodev /sys/kernel/debug 2>/dev/null
check "tracers can be looked at" [ -e /sys/kernel/tracing/enabled_functions ]
check "probes can be looked at" [ -e /sys/kernel/debug/kprobes/list ]
kpatch install "$KO_demo" >/dev/null
kpatch load "$KO_demo" >/dev/null
true_us=$(least 15 10 /bin/true)
ours_us=$(least 15 10 kpatch list)
original_us=$(least 4 2 /usr/local/lib/original/kpatch list)
echo "# one patch loaded and installed, microseconds: /bin/true $true_us, kpatch list $ours_us, the original $original_us"
check "list costs at most 1.5 times /bin/true" [ "$ours_us" -le $((true_us * 3 / 2)) ]
check "list costs at most a tenth of the original" [ $((ours_us * 10)) -le "$original_us" ]

# What load adds: its time from exec to exit, less the insertion and the waiting for the transition, less what a program
# takes that does nothing. strace stops it at these calls only.
# own <command...>: microseconds.
own() {
	strace -f --seccomp-bpf -qq -ttt -T -e trace=execve,finit_module,clock_nanosleep,exit_group -o /tmp/trace "$@" >/dev/null
	# Lines `PID TIME call(...) = RESULT <SECONDS>`.
	awk '
		/ execve\(/ && !start { start = $2 }
		/ finit_module\(| clock_nanosleep\(/ { gsub(/[<>]/, "", $NF); outside += $NF }
		/ exit_group\(/ { end = $2 }
		END { printf "%d", end ? (end - start - outside) * 1000000 : 999999999 }' /tmp/trace
}
least_own=999999999
least_true=999999999
for _round in 1 2 3 4 5 6 7 8; do
	kpatch unload "$patch" >/dev/null
	_own=$(own kpatch load "$KO_demo")
	check "strace saw the insertion ($_round)" grep -q 'finit_module(.* = 0 <' /tmp/trace
	_true=$(own /bin/true)
	echo "# load, microseconds of its own: $_own (/bin/true: $_true)"
	[ "$least_own" -le "$_own" ] || least_own=$_own
	[ "$least_true" -le "$_true" ] || least_true=$_true
done
check "load adds at most 20 ms of its own" [ $((least_own - least_true)) -le 20000 ]
