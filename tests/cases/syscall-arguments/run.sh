# SPDX-License-Identifier: GPL-2.0-or-later
# On x86_64 and arm64 alike the arguments come in registers that the wrapper is given. The replacement compares what `klp` takes for
# them with what the kernel's own syscall_get_arguments() says, all six, and fails with EIO where they differ.
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_syscall_arguments")
size() {
	stat -c %s /tmp/room
}
rm -f /tmp/room
check "before: the system call goes further than a mebibyte" fallocate -o 1048576 -l 1 /tmp/room
check "before: the file has the size that was asked for" equals 1048577 "$(size)"
rm -f /tmp/room
check "kpatch load succeeds" kpatch load "$KO_syscall_arguments" || exit
check "the replacement passes the arguments on" fallocate -o 4096 -l 8192 /tmp/room
check "the file has the size that was asked for" equals 12288 "$(size)"
fallocate -o 1048576 -l 1 /tmp/room 2>/tmp/refused
check "what is too much is refused, with EFBIG" contains "File too large" /tmp/refused
check "the file is as it was" equals 12288 "$(size)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original goes further again" fallocate -o 1048576 -l 1 /tmp/room
check "and has the size that was asked for" equals 1048577 "$(size)"
rm -f /tmp/room
check "nothing of the patch is left" unloaded "$module"
