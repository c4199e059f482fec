# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

mkdir -p /tmp/files
mount -t tmpfs tmpfs /tmp/files
mknod /tmp/null b 0 0

# hint: whether the write hint of an immutable file can be set.
hint() {
	rm -f /tmp/files/file
	./hint /tmp/files/file 2>&1
}

# null_device: the error of a mount of a block device without a number.
null_device() {
	mount -t ext4 /tmp/null /tmp 2>&1 | sed 's/.*: //'
}

# work: programs that run the patched functions, and what they say.
work() {
	{
		cat /proc/interrupts /proc/self/maps >/dev/null
		echo through | cat
		ip rule add from 10.9.8.7 table 100
		ip rule | grep -c 10.9.8.7
		ip rule del from 10.9.8.7 table 100
		arp -n >/dev/null 2>&1
		(sleep 0.1)
		unshare -i true
		touch /tmp/files/new && rm /tmp/files/new
	} >/tmp/said 2>&1
	cat /tmp/said
}

before=$(work)
check "an immutable file takes a hint" equals "set" "$(hint)"
error=$(null_device)
for file in $(env | sed -n "s/^KO_update_[a-z_0-9]*=//p" | sort); do
	module=$(module_of "$file")
	check "$module: kpatch load succeeds" kpatch load "$file" || continue
	check "$module: is in force" settled "$module"
	check "$module: programs work as before" equals "$before" "$(work)"
	case $module in
	*fcntl*) check "$module: an immutable file takes no hint" equals "Operation not permitted" "$(hint)" ;;
	*bdev*) check "$module: a device without a number is none" equals "No such device" "$(null_device)" ;;
	esac
	check "$module: kpatch unload succeeds" kpatch unload "$module"
	check "$module: nothing is left" unloaded "$module"
done
check "an immutable file takes a hint again" equals "set" "$(hint)"
check "the error is the original's again" equals "$error" "$(null_device)"
umount /tmp/files
