# postinst of a live patch package. The module of the old version stays installed until here, and is removed after the
# module of this version is installed: a reboot finds one of them at every moment.

# Removes the other modules of the stream from the store, except those of a file that a package has.
uninstall_others() {
    for path in "$store/$stream"_*.ko; do
        name="${path##*/}"
        name="${name%.ko}"
        if [ "$name" != "$module" ] && [ -e "$path" ] && version_in_stream "$name" \
            && [ ! -e "/usr/lib/kpatch/$kernel/$name.ko" ]; then
            kpatch uninstall -k "$kernel" "$name"
        fi
    done
}

case "$1" in
    configure | abort-upgrade | abort-remove | abort-deconfigure)
        if [ -n "$module" ]; then
            kpatch install -k "$kernel" "$file"
        fi
        uninstall_others
        if [ -n "$module" ]; then
            label
            load_into_running_kernel
        fi
        ;;
esac
