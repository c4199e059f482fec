# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh

# loaded: the modules of this case that are there.
loaded() {
	awk '$1 ~ /^(bridge|stp|llc)$/ { print $1 }' /proc/modules | sort | xargs
}

check "alone it is refused" fails insmod "$KO_module_bridge"
check "it comes with those that it needs" load_module "$KO_module_bridge" || exit
check "all of them are there" equals "bridge llc stp" "$(loaded)"
check "it goes with them" remove_module "$KO_module_bridge"
check "none of them is left" equals "" "$(loaded)"

check "one that it needs comes first" insmod "${KO_module_bridge%/*}/llc.ko"
check "it comes after it" load_module "$KO_module_bridge"
check "it goes" remove_module "$KO_module_bridge"
check "what was there before it stays" equals "llc" "$(loaded)"
check "and goes at last" rmmod llc
