# Run a program in the room: sh enter.sh ROOM CHECKOUT TOOLS REPORTS PROGRAM [ARGUMENT...]
#
# To be started by unshare(1) with new mount and process namespaces, which end with it: whatever is
# mounted here, and whatever still runs, is gone then.
set -eu
room=$1 checkout=$2 tools=$3 reports=$4
shift 4

mount --bind "$room" "$room"
mkdir -p "$room/checkout" "$room/tools" "$room/reports" "$room/outside"
mount --bind "$checkout" "$room/checkout"
mount -o remount,bind,ro "$room/checkout"
mount --bind "$tools" "$room/tools"
mount -o remount,bind,ro "$room/tools"
mount --bind "$reports" "$room/reports"
mount --rbind /dev "$room/dev"
mount --rbind /sys "$room/sys"
mount -t proc proc "$room/proc"
mount -t tmpfs -o mode=1777 tmpfs "$room/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$room/dev/shm"

# Not chroot: in one, / would be no mount point, and user namespaces are forbidden.
cd "$room"
pivot_root . outside
umount -l /outside

cd /checkout
# Not exec: the first process of a namespace has to collect orphans, which this shell does.
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 \
    PYTHONPATH=/tools PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    ${CI:+CI="$CI"} "$@"
