# SPDX-License-Identifier: GPL-2.0-or-later
# loader/tests/kills.rs injects such errors at every system call; here they are the kernel's own.
. /lib/case.sh
. /lib/livepatch.sh

STORE=/var/lib/kpatch
module=$(module_of "$KO_cmdline")
demo=$(module_of "$KO_demo")
installed=$STORE/$RELEASE/$(basename "$KO_cmdline")

# on_disk <mount options>: the store is a file system of its own, empty.
on_disk() {
	rm -rf $STORE
	mkdir -p $STORE
	mount -t tmpfs -o "$1" kpatch-store $STORE
}
# everything: what is in the store, hidden files too, with their sums.
everything() {
	find $STORE -type f -exec md5sum {} + | sort -k 2
}
fill() {
	dd if=/dev/zero of=$STORE/filler bs=4096 2>/dev/null
	[ -s $STORE/filler ]
}

phase full
on_disk size=256k
check "a first module is installed" kpatch install "$KO_demo"
check "the disk is full" fill
everything >/tmp/before
check "on a full disk install fails" ends 1 full kpatch install "$KO_cmdline"
check "it says of what, and why" contains "cannot write $installed: No space left on device" "$EVIDENCE/full"
grep -v '\.history$' /tmp/before >/tmp/before.store
everything | grep -v '\.history$' >/tmp/after.store
check "nothing half-written is left, nothing is lost" same /tmp/before.store /tmp/after.store
check "what is installed is listed" kpatch list
check "a patch can be loaded all the same" ends 0 full-load kpatch load "$KO_cmdline"
check "that the next boot will not know is said" contains "the next boot will not know" "$EVIDENCE/full-load"
check "it acts" reads "patched from Rust" /proc/cmdline
check "and can be unloaded" kpatch unload "$module"
rm $STORE/filler
check "with room again install completes" kpatch install "$KO_cmdline"
check "the file is whole" cmp "$KO_cmdline" "$installed"

phase read-only
mount -o remount,ro $STORE
check "on a read-only disk uninstall fails" ends 1 read-only kpatch uninstall "$module"
check "it says of what, and why" contains "Read-only file system" "$EVIDENCE/read-only"
check "the file is there" cmp "$KO_cmdline" "$installed"
cp "$KO_cmdline" /tmp/other.ko
check "of a module under another name" ends 1 read-only-other kpatch install /tmp/other.ko
check "with the reason" contains "Read-only file system" "$EVIDENCE/read-only-other"
for verb in list status history; do
	check "$verb works" ends 0 "read-only-$verb" kpatch $verb
done
check "what is installed can be loaded" ends 0 read-only-load kpatch load "$module"
check "and unloaded" kpatch unload "$module"
mount -o remount,rw $STORE

phase unreadable
mkdir -p /etc
grep -q ^nobody: /etc/passwd 2>/dev/null || echo nobody:x:65534:65534::/:/bin/sh >>/etc/passwd
as_nobody() {
	su -s /bin/sh nobody -c "$*"
}
check "an ordinary user is one" equals 65534 "$(as_nobody id -u)"
chmod 600 "$installed"
check "an ordinary user may list" ends 0 user-list as_nobody kpatch list
check "and sees the same" same "$EVIDENCE/read-only-list" "$EVIDENCE/user-list"
rm "$STORE/$RELEASE/$(basename "$KO_demo")"
check "status does not fail on a file that may not be read" ends 0 user-status as_nobody kpatch status
check "but says so" contains "UNKNOWN - $module: cannot open $installed: Permission denied" "$EVIDENCE/user-status"
check "monitors do not know" ends 3 user-status-check as_nobody kpatch status --check
check "info of it fails" ends 1 user-info as_nobody kpatch info "$module"
check "with the reason" contains "cannot open $installed: Permission denied" "$EVIDENCE/user-info"
check "load fails before anything is done" ends 1 user-load as_nobody kpatch load "$module"
check "with what to do" contains "root" "$EVIDENCE/user-load"
check "nothing is loaded" unloaded "$module"
chmod 644 "$installed"

phase garbage
here=$STORE/$RELEASE
head -c 5000 /dev/urandom >"$here/noise.ko"
head -c 5000 "$KO_demo" >"$here/cut.ko"
gzip -c "$KO_demo" | head -c 3000 >"$here/cut-packed.ko.gz"
mkdir "$here/directory.ko"
mkfifo "$here/pipe.ko"
ln -s /nowhere "$here/dangling.ko"
ln -s loop.ko "$here/loop.ko"
: >"$here/empty.ko"
echo '{"time":' >>$STORE/.history
head -c 300 /dev/urandom >"$STORE/.trial-$module"
check "all that is good is loaded, the rest is complained of" ends 1 garbage timeout 600 kpatch load --all
check "the good one acts" reads "patched from Rust" /proc/cmdline
for bad in noise cut cut-packed directory pipe dangling loop empty; do
	check "$bad is named" contains "$here/$bad.ko" "$EVIDENCE/garbage"
done
check "how many is said" contains "8 of 9 patch modules could not be loaded" "$EVIDENCE/garbage"
for verb in list status history; do
	check "$verb works" ends 0 "garbage-$verb" timeout 600 kpatch $verb
done
check "the damaged line of the history is counted" contains "1 lines of $STORE/.history are incomplete" "$EVIDENCE/garbage-history"
check "it is unloaded" kpatch unload --all
for bad in noise cut cut-packed directory pipe dangling loop empty; do
	rm -rf "$here/$bad".ko*
done

phase ten
pids=
for n in 1 2 3; do
	kpatch load "$KO_cmdline" >/tmp/ten.load$n 2>&1 & pids="$pids $!"
	kpatch install "$KO_demo" >/tmp/ten.install$n 2>&1 & pids="$pids $!"
	kpatch list >/tmp/ten.list$n 2>&1 & pids="$pids $!"
done
kpatch status >/tmp/ten.status 2>&1 & pids="$pids $!"
bad=0
for pid in $pids; do
	wait "$pid" || bad=$((bad + 1))
done
cat /tmp/ten.* >/tmp/ten
keep ten /tmp/ten
check "ten at once: each succeeds" equals 0 $bad
check "one of three loads" equals 1 "$(grep -c '^loading patch module' /tmp/ten)"
check "two find it loaded" equals 2 "$(grep -c 'already loaded and enabled' /tmp/ten)"
check "one of three installs" equals 1 "$(grep -c '^installing ' /tmp/ten)"
check "two find it installed" equals 2 "$(grep -c 'is already installed' /tmp/ten)"
check "the file is whole" cmp "$KO_demo" "$here/$(basename "$KO_demo")"
check "it is unloaded" kpatch unload "$module"

phase vanish
(
	while [ ! -e /tmp/enough ]; do
		kpatch load "$KO_cmdline" && kpatch unload "$module" || echo "a round failed"
	done
) >/tmp/rounds 2>&1 &
worker=$!
looks=0
odd=0
with=0
rounds=0
until [ "$rounds" -ge 5 ] && [ $looks -ge 40 ] && [ $with -ge 3 ] || [ $looks -ge 1000 ]; do
	for verb in list status "list --json" "status --json"; do
		kpatch $verb >/tmp/look 2>/tmp/look.err || odd=$((odd + 1))
		[ ! -s /tmp/look.err ] || { odd=$((odd + 1)); cat /tmp/look.err; }
		! grep -q "$module.*enabl" /tmp/look || with=$((with + 1))
		looks=$((looks + 1))
	done
	rounds=$(grep -c '^unloading' /tmp/rounds)
done
touch /tmp/enough
wait $worker
echo "$rounds rounds; $with of $looks looks saw the patch"
check "each round of load and unload succeeds" lacks "failed" /tmp/rounds
check "there were several" [ "$rounds" -ge 5 ]
check "and looks that saw the patch" [ $with -ge 3 ]
check "looking meanwhile never fails and never complains" equals 0 $odd
rm -f /tmp/enough

umount $STORE
rm -rf $STORE
check "nothing of the patches is left" unloaded "$module"
check "nor of the other" unloaded "$demo"
