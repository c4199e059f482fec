# Start of the scripts of kpatch that link dnf's plug-in.
plugin=/usr/share/kpatch/dnf-plugins/kpatch.py
plugin_dirs='/usr/lib/python3*/site-packages/dnf-plugins /usr/lib/python3/dist-packages/dnf-plugins'
