# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

old=$(module_of "$KO_demo_v1")
new=$(module_of "$KO_demo_v2")

# Reads /proc/cmdline without a pause. `read` is the shell's own: no process is started between two looks, so that
# there are as many as can be. The first line that is not the fix's ends it and is kept.
reader() {
	_count=0
	while [ ! -e /tmp/stop ]; do
		read -r _line </proc/cmdline
		if [ "$_line" != "patched from Rust" ]; then
			echo "$_line" >/tmp/unpatched
			break
		fi
		_count=$((_count + 1))
		echo $_count >/tmp/count
	done
}

# read_on: the reader has read again since this was asked. The file is empty for a moment each time it is written.
read_on() {
	wait_until 20 counted && _last=$_now && wait_until 20 another
}
counted() {
	read -r _now </tmp/count && [ -n "$_now" ]
}
another() {
	counted && [ "$_now" -gt "$_last" ]
}

rm -f /tmp/stop /tmp/unpatched
echo 0 >/tmp/count
keep cmdline /proc/cmdline
keep version /proc/version
check "version 1 is loaded" kpatch load "$KO_demo_v1" || exit
check "version 1: the first fix acts" reads "patched from Rust" /proc/cmdline
check "version 1: the second function is the original" same "$EVIDENCE/version" /proc/version

reader &
reader=$!
check "the reader reads before the replacement" read_on
check "version 2 is loaded over it" kpatch load "$KO_demo_v2"
check "the reader reads after the replacement" read_on
touch /tmp/stop
wait $reader
check "the reader never saw the original" absent /tmp/unpatched

check "version 2: the first fix acts" reads "patched from Rust" /proc/cmdline
check "version 2: the second fix acts" contains "nr_processes: " /proc/version
check "version 2 is the only patch" equals "$new" "$(ls $PATCHES)"
check "version 2 is enabled" listed "$new" enabled
check "version 2 is unloaded" kpatch unload "$new"
check "the first original is back, byte for byte" same "$EVIDENCE/cmdline" /proc/cmdline
check "the second original is back, byte for byte" same "$EVIDENCE/version" /proc/version

# A replaced module has no patch any more and may stay in memory; it must be removable.
[ ! -d "/sys/module/$old" ] || check "version 1 can be removed" kpatch unload "$old"
check "nothing of version 1 is left" unloaded "$old"
check "nothing of version 2 is left" unloaded "$new"
