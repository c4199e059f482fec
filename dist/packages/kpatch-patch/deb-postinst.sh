# postinst of a live patch package. The module of the old version stays installed until here, and is removed after the
# module of this version is installed: a reboot finds one of them at every moment.

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
