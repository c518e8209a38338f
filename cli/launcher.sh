#!/bin/sh
# Starts widefield from the folder that this file lies in, with the Node binary beside it, on a bare x86-64 Linux with
# glibc. It writes nothing, needs no tool but a shell (and `readlink` if it is called through a symbolic link), and
# changes nothing but where libraries and driver descriptions are looked for:
#   * a C++ runtime and a Vulkan loader of the system's own come first, since they fit its drivers; the ones in lib/
#     serve where the system has none;
#   * where NVIDIA's container runtime puts its driver under /usr/local/nvidia, which neither the dynamic linker nor
#     the Vulkan loader searches by itself, those folders are added.

fail() {
  printf 'widefield: %s\n' "$1" >&2
  exit 1
}

[ -e /lib64/ld-linux-x86-64.so.2 ] ||
  fail "this archive is for x86-64 Linux with glibc @GLIBC@ or newer: no /lib64/ld-linux-x86-64.so.2 here"

self=$0
case $self in */*) ;; *) self=./$self ;; esac
while [ -L "$self" ]; do
  case $self in /*) ;; *) self=./$self ;; esac
  target=$(PATH="$PATH:/usr/bin:/bin" readlink "$self") ||
    fail "cannot follow the symbolic link $self: call the file that it points to"
  case $target in /*) self=$target ;; *) self=${self%/*}/$target ;; esac
done
here=$(CDPATH='' cd -P -- "${self%/*}/" && pwd -P) || fail "cannot enter the folder of $self"
[ -x "$here/bin/node" ] || fail "no executable $here/bin/node: unpack the whole archive, keeping its file modes"

libraries=${LD_LIBRARY_PATH:-}
data=${XDG_DATA_DIRS:-/usr/local/share:/usr/share}

# Sets `found` to the file of that name which the dynamic linker would take, or to nothing.
search() {
  found=
  old_separators=$IFS
  IFS=:
  for folder in $libraries /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64; do
    if [ -n "$folder" ] && [ -e "$folder/$1" ]; then
      found=$folder/$1
      break
    fi
  done
  IFS=$old_separators
}

# An NVIDIA driver that the Vulkan loader finds by itself must not be named twice: it would show each GPU twice.
described=
for file in /etc/vulkan/icd.d/nvidia*.json /usr/share/vulkan/icd.d/nvidia*.json \
  /usr/local/share/vulkan/icd.d/nvidia*.json; do
  [ -e "$file" ] && described=$file
done
for root in /usr/local/nvidia/share /usr/local/nvidia; do
  if [ -z "$described" ] && [ -d "$root/vulkan/icd.d" ]; then
    data=$data:$root
    described=$root
  fi
done
for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do
  [ -d "$folder" ] && libraries=${libraries:+$libraries:}$folder
done

# The C++ runtime: ours where the system's is missing or older than Dawn needs, if Node starts with it (ours may need a
# newer glibc than there is, and then an old runtime without a GPU is better than no start at all).
search libstdc++.so.6
if [ -z "$found" ] || ! PATH="$PATH:/usr/bin:/bin" grep -q '@GLIBCXX@' "$found" 2>/dev/null; then
  candidate=$here/lib/cxx${libraries:+:$libraries}
  if LD_LIBRARY_PATH=$candidate "$here/bin/node" --version >/dev/null 2>&1; then
    libraries=$candidate
  elif [ -z "$found" ]; then
    fail "this system has no libstdc++.so.6, and the one in $here/lib/cxx does not load (it needs glibc @GLIBC_CXX@): \
install libstdc++ (Debian, Ubuntu: libstdc++6; Fedora, RHEL: libstdc++)"
  fi
fi

search libvulkan.so.1
[ -n "$found" ] || libraries=${libraries:+$libraries:}$here/lib/vulkan

[ -n "$libraries" ] && export LD_LIBRARY_PATH="$libraries"
export XDG_DATA_DIRS="$data"
exec "$here/bin/node" "$here/dist/cli.js" "$@"
