# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

lp=$(module_of "$KO_vendor_ring")
ko=$KO_out_of_tree_vendor_ring

# Each read adds 400 bytes to the ring, whose capacity is 1000. ENOSPC is 28.
# overflows: of an empty ring the third read goes beyond the capacity.
overflows() {
	reads "ring 400 0" /proc/vendor_ring && reads "ring 800 0" /proc/vendor_ring && reads "ring 1200 0" /proc/vendor_ring
}
# is_limited: of an empty ring the third read is refused, and the fourth.
is_limited() {
	reads "ring 400 0" /proc/vendor_ring && reads "ring 800 0" /proc/vendor_ring &&
		reads "ring 800 -28" /proc/vendor_ring && reads "ring 800 -28" /proc/vendor_ring
}

phase present
check "the module comes" insmod "$ko" || exit
check "without the patch the ring overflows" overflows
check "the patch is loaded over the module" kpatch load "$KO_vendor_ring" || exit
check "the ring beyond its capacity is refused" reads "ring 1200 -28" /proc/vendor_ring
check "the module is patched" attribute "$lp" vendor_ring/patched 1
echo 1 >/sys/module/vendor_ring/parameters/more
check "one byte is refused too" reads "ring 1200 -28" /proc/vendor_ring
check "the patch is unloaded" kpatch unload "$lp"
check "the module's own function answers" reads "ring 1201 0" /proc/vendor_ring
check "the module goes" rmmod vendor_ring

phase absent
check "the patch is loaded without the module" kpatch load "$KO_vendor_ring" || exit
check "the module comes" insmod "$ko"
check "the module is patched" attribute "$lp" vendor_ring/patched 1
check "the ring stops below its capacity" is_limited
check "the module goes while it is patched" rmmod vendor_ring
check "the object is not patched" attribute "$lp" vendor_ring/patched 0
case $RELEASE in
# Until 6.3 the kernel does not clear a patch's relocations when the module that they are for leaves (case module-object).
6.1.*) check "the module cannot come again" fails insmod "$ko" ;;
*)
	check "the module comes again" insmod "$ko"
	check "the ring stops below its capacity" is_limited
	check "the module goes" rmmod vendor_ring
	;;
esac
check "the patch is unloaded" kpatch unload "$lp"

phase reverted
check "the module comes" insmod "$ko"
check "without the patch the ring overflows" overflows
check "the module goes" rmmod vendor_ring
check "nothing of the patch is left" unloaded "$lp"
