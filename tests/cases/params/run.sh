# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=livepatch_params
files=/sys/module/$module/parameters
types="limit:uint verbose:bool small:byte low:short high:ushort level:int offset:long mask:ulong wide:ullong type:charp pids:array_of_int"

# mode <parameter> <mode>: its file has this mode.
mode() {
	equals "$2" "$(stat -c %a "$files/$1")"
}

# set_to <parameter> <value>: the kernel takes the value.
set_to() {
	echo "$2" >"$files/$1"
}

# shows <expected file>: the replacement prints these lines.
shows() {
	same "$1" /proc/cmdline
}

keep original /proc/cmdline
check "the module file has the name of patch.toml" equals "$module" "$(module_of "$KO_params")"
kpatch info "$KO_params" >/tmp/info
for entry in $types; do
	check "modinfo has the type of ${entry%%:*}" grep -qx "parmtype: *$(echo "$entry" | tr _ ' ')" /tmp/info
done
check "and the description of limit" grep -qx 'parm: *limit:Number of lines "limit" that are printed' /tmp/info
check "the manifest has the parameter with mode and default" \
	grep -qx 'parameter: *limit (uint, mode 0644, default 3): Number of lines "limit" that are printed' /tmp/info
kpatch info --json "$KO_params" >/tmp/json
check "for programs too" grep -q '"mode": "0600"' /tmp/json

phase defaults
check "the module is loaded without parameters" kpatch load "$KO_params" || exit
check "it has its exact name" attribute "$module" enabled 1
cat >/tmp/defaults <<'END'
verbose true
small 255 low -32768 high 65535
level -2147483648 offset -9223372036854775808
mask 18446744073709551615 wide 0
type a "text" with 100%
pids 7 -8 of 2, last -8
limit
limit
limit
END
check "the replacement reads the defaults" shows /tmp/defaults
check "sysfs shows them" reads 3 $files/limit
check "and a list" reads 7,-8 $files/pids
for entry in limit:644 verbose:600 small:444 type:444 pids:644; do
	check "the mode of ${entry%%:*} is ${entry#*:}" mode "${entry%%:*}" "${entry#*:}"
done

phase changed
check "a value is changed at run time" set_to limit 1
check "another one" set_to verbose N
check "a list becomes longer" set_to pids 1,2,3
check "a negative one" set_to level -5
cat >/tmp/changed <<'END'
verbose false
small 255 low -32768 high 65535
level -5 offset -9223372036854775808
mask 18446744073709551615 wide 0
type a "text" with 100%
pids 1 2 3 of 3, last 3
limit
END
check "the replacement reads the new values" shows /tmp/changed
check "a negative number is none for an unsigned parameter" fails set_to limit -1
check "a list with too many values is refused" fails set_to pids 1,2,3,4,5
check "a parameter that is read-only cannot be written" fails set_to small 1
check "nothing of that changed a parameter that was refused" reads 1 $files/limit
check "it is unloaded" kpatch unload "$module" || exit
check "the original answers" same "$EVIDENCE/original" /proc/cmdline

phase given
check "a value that does not fit is refused at the load" fails insmod "$KO_params" small=256
check "the module is loaded with parameters" \
	insmod "$KO_params" limit=5 verbose=0 small=1 low=2 high=3 level=4 offset=-5 mask=0x10 wide=18446744073709551615 type=word pids=9 || exit
check "its transition ends" wait_until 30 settled "$module"
cat >/tmp/given <<'END'
verbose false
small 1 low 2 high 3
level 4 offset -5
mask 16 wide 18446744073709551615
type word
pids 9 of 1, last 9
limit
limit
limit
limit
limit
END
check "the replacement reads what was given" shows /tmp/given
check "it is unloaded again" kpatch unload "$module" || exit
check "nothing of it is left" unloaded "$module"
check "the original answers again" same "$EVIDENCE/original" /proc/cmdline
