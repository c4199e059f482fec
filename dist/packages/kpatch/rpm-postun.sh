# %postun of kpatch.
if [ "$1" -eq 0 ]; then
    for dir in $plugin_dirs; do
        if [ "$(readlink "$dir/kpatch.py")" = "$plugin" ]; then
            rm -f "$dir/kpatch.py" "$dir"/__pycache__/kpatch.*.pyc
        fi
    done
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
exit 0
