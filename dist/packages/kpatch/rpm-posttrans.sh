# %posttrans of kpatch. Each Python has a directory of dnf's plug-ins of its own; a link in it leads to the plug-in.
for dir in $plugin_dirs; do
    if [ -d "$dir" ] && { [ ! -e "$dir/kpatch.py" ] || [ -L "$dir/kpatch.py" ]; }; then
        ln -sfn "$plugin" "$dir/kpatch.py" || true
    fi
done
exit 0
