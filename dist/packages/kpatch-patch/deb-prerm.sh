# prerm of a live patch package. It unloads nothing. On an upgrade the module stays installed; postinst of the new version
# removes it.
case "$1" in
    remove)
        if [ -e "$installed" ]; then
            kpatch uninstall -k "$kernel" "$module"
        fi
        ;;
esac
