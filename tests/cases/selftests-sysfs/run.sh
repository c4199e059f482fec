# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

# mode <permissions> <file below the patch's directory>
mode() {
	equals "$1" "$(stat -c %A "$patch/$2")"
}
patch=$PATCHES/kpatch_selftest_callbacks
load_lp "$KO_selftest_callbacks"
check "the patch's directory" mode drwxr-xr-x ""
check "enabled: its owner may write it" mode -rw-r--r-- enabled
check "enabled holds 1" reads 1 $patch/enabled
check "force may only be written" mode --w------- force
check "transition may only be read" mode -r--r--r-- transition
check "transition holds 0" reads 0 $patch/transition
check "the kernel is an object" mode drwxr-xr-x vmlinux
check "the module that is not there is an object" mode drwxr-xr-x klp_callbacks_mod
check "patched may only be read" mode -r--r--r-- vmlinux/patched
check "the kernel is patched" reads 1 $patch/vmlinux/patched
check "the module is not" reads 0 $patch/klp_callbacks_mod/patched
load_mod "$KO_module_klp_callbacks_mod"
check "the module is when it has come" reads 1 $patch/klp_callbacks_mod/patched
unload_mod klp_callbacks_mod
check "the module is not when it has gone" reads 0 $patch/klp_callbacks_mod/patched
case $RELEASE in
6.1.*) ;; # the file `replace` came with 6.11
*)
	check "replace may only be read" mode -r--r--r-- replace
	check "the patch is stacked" reads 0 $patch/replace
	;;
esac
case $RELEASE in
6.*) ;; # the file `stack_order` came with 6.14
*) check "it is the first of the stack" reads 1 $patch/stack_order ;;
esac
disable_lp "$KO_selftest_callbacks"
unload_lp "$KO_selftest_callbacks"

patch=$PATCHES/$(module_of "$KO_selftest_replace")
load_lp "$KO_selftest_replace"
check "a function has a directory" mode drwxr-xr-x vmlinux/meminfo_proc_show,1
case $RELEASE in
6.1.*) ;;
*) check "a patch that replaces says so" reads 1 $patch/replace ;;
esac
disable_lp "$KO_selftest_replace"
unload_lp "$KO_selftest_replace"
