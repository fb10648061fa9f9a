package ntmfw.internal;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;

/** A thread that waits for descriptors on behalf of virtual threads, which are parked meanwhile. */
final class Poller {
    private static final int EPOLLIN = 0x1;
    private static final int EPOLLOUT = 0x4;
    private static final int EPOLLONESHOT = 1 << 30;
    private static final int EPOLL_CTL_ADD = 1;
    private static final int EPOLL_CTL_MOD = 3;
    private static final int EPOLL_CLOEXEC = 0x80000;
    /** {@code struct epoll_event} is packed on x86-64 and nowhere else. */
    private static final boolean PACKED = System.getProperty("os.arch").equals("amd64");
    private static final int DATA = PACKED ? 4 : 8;
    private static final int EVENT = DATA + Long.BYTES;
    private static final int EVENTS = NativeBuffer.SMALL / EVENT;

    private final int events;
    private final int set;
    /** At most one thread waits for a descriptor in one direction: streams and ports have a lock for that. */
    private final ConcurrentHashMap<Integer, Waiter> waiters = new ConcurrentHashMap<>();

    private Poller(String name, int events) {
        this.events = events | EPOLLONESHOT;
        this.set = Library.calls().epollCreate(EPOLL_CLOEXEC);
        Thread thread = new Thread(this::run, name);
        thread.setDaemon(true);
        thread.start();
    }

    private static final class Waiter {
        private final Thread thread = Thread.currentThread();
        private volatile boolean woken;
    }

    /** For what can be read or accepted. */
    static Poller reading() {
        return Reading.POLLER;
    }

    /** For room to write and connections that are made. */
    static Poller writing() {
        return Writing.POLLER;
    }

    private static final class Reading {
        private static final Poller POLLER = new Poller("ntmfw reads", EPOLLIN);
    }

    private static final class Writing {
        private static final Poller POLLER = new Poller("ntmfw writes", EPOLLOUT);
    }

    /**
     * Parks this thread until the descriptor is ready or closed. A thread that is interrupted closes it, as virtual
     * threads do with all sockets.
     *
     * @return false where the time was over before
     */
    boolean await(Descriptor descriptor, int fd, long until) {
        Waiter waiter = new Waiter();
        waiters.put(fd, waiter);
        try {
            watch(fd);
            while (!waiter.woken) {
                if (Thread.currentThread().isInterrupted()) {
                    descriptor.close();
                    return false;
                }
                if (until == Long.MAX_VALUE) {
                    LockSupport.park(this);
                } else {
                    long left = until - System.nanoTime();
                    if (left <= 0) {
                        return false;
                    }
                    LockSupport.parkNanos(this, left);
                }
            }
            return true;
        } finally {
            waiters.remove(fd, waiter);
        }
    }

    private void watch(int fd) {
        Calls calls = Library.calls();
        try (NativeBuffer event = NativeBuffer.take()) {
            event.bytes.putInt(0, events).putLong(DATA, fd);
            if (calls.epollCtl(set, EPOLL_CTL_MOD, fd, event.address) < 0) {
                calls.epollCtl(set, EPOLL_CTL_ADD, fd, event.address);
            }
        }
    }

    private void run() {
        Calls calls = Library.calls();
        NativeBuffer ready = NativeBuffer.take();
        while (true) {
            int count = calls.epollWait(set, ready.address, EVENTS, -1);
            for (int i = 0; i < count; i++) {
                Waiter waiter = waiters.get((int) ready.bytes.getLong(i * EVENT + DATA));
                if (waiter != null) {
                    waiter.woken = true;
                    LockSupport.unpark(waiter.thread);
                }
            }
        }
    }
}
