# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_diff_header")

# users NAME: what the program sees, in /tmp/NAME.
users() {
	./users >/tmp/"$1" 2>&1
	keep "$1" /tmp/"$1"
}

# all NAME USER: the last user of each object.
all() {
	for object in queue semaphore memory; do
		check "$1: the last user of the $object is the $2 one" contains "$object: $2" "/tmp/$1"
	done
}

users before
all before second
check "kpatch load succeeds" kpatch load "$KO_diff_header" || exit
users patched
all patched first
check "kpatch unload succeeds" kpatch unload "$module"
users after
check "the original is back" same /tmp/before /tmp/after
check "nothing of the patch is left" unloaded "$module"
