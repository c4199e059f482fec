# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

STORE=/var/lib/kpatch/$RELEASE

# unpack <package>, configure: what dpkg does when a package is installed, with the package's own script.
unpack() {
	rm -rf /tmp/control
	dpkg-deb -x "$1" / && dpkg-deb -e "$1" /tmp/control
}
configure() {
	sh /tmp/control/postinst configure ""
}

# remove: what dpkg does when the package is removed.
remove() {
	sh /tmp/control/prerm remove && rm -r /usr/lib/kpatch "/usr/share/doc/kpatch-patch-$RELEASE"
}

not_patched() {
	same "$EVIDENCE/cmdline" /proc/cmdline && same "$EVIDENCE/version" /proc/version
}

keep cmdline /proc/cmdline
keep version /proc/version
check "the kernel asks for signatures" reads Y /sys/module/module/parameters/sig_enforce

check "the package of an unsigned module is unpacked" unpack "$KO_package_unsigned_demo" || exit
check "its script succeeds" prints unsigned configure
module=$(basename "$STORE"/*.ko .ko)
check "it says that the module is not loaded" contains "WARNING: $module is installed but not loaded" "$EVIDENCE/unsigned"
check "the reason is the missing signature" contains "it has no signature, and this kernel loads signed modules only (module.sig_enforce)" "$EVIDENCE/unsigned"
check "nothing of it is in the kernel" unloaded "$module"
check "kpatch load refuses it" fails_with 4 prints refused kpatch load "$module"
check "with the same reason" contains "it has no signature" "$EVIDENCE/refused"
check "the kernel refuses it too" fails_with 5 prints kernel kpatch load --no-check "$module"
check "kpatch names the kernel's reason" contains "Loading of unsigned module is rejected" "$EVIDENCE/kernel"
check "the kernel is not patched" not_patched
check "the package is removed" remove

check "the package of the signed module is unpacked" unpack "$KO_package_demo" || exit
check "its script succeeds" configure || exit
check "its module is enabled" attribute "$module" enabled 1
check "the first fix acts" reads "patched from Rust" /proc/cmdline
check "the second fix acts" contains "saved_command_line: " /proc/version
dmesg >/tmp/log
check "the kernel found the signature good" lacks "$module: module verification failed" /tmp/log
check "it is unloaded" kpatch unload "$module"
check "the kernel is not patched any more" not_patched

foreign=$(module_of "$KO_foreign_cmdline")
check "a module by an unknown key is refused" fails_with 5 prints foreign kpatch load "$KO_foreign_cmdline"
check "the reason is the key" contains "signed with a key that this kernel does not trust" "$EVIDENCE/foreign"
check "nothing of it is in the kernel" unloaded "$foreign"

peek=$(module_of "$KO_signed_peek")
mkdir /tmp/changed
changed=/tmp/changed/${KO_signed_peek##*/}
cp "$KO_signed_peek" "$changed"
# A byte of the text that the fix prints.
at=$(strings -t d "$changed" | sed -n 's/^ *\([0-9]*\) .*saved_command_line: .*/\1/p' | head -n 1)
check "the text of the fix is found in the module" test -n "$at" || exit
printf X | dd of="$changed" bs=1 seek="$at" conv=notrunc
check "one byte is another one" fails cmp -s "$KO_signed_peek" "$changed"
check "a module that was changed after signing is refused" fails_with 5 prints changed kpatch load "$changed"
check "the reason is the change" contains "it was changed after it was signed" "$EVIDENCE/changed"
check "nothing of it is in the kernel" unloaded "$peek"
check "the module itself is loaded" kpatch load "$KO_signed_peek"
check "it is unloaded" kpatch unload "$peek"
check "the kernel is not patched at the end" not_patched
