package ntmfw.internal;

import java.lang.ref.Cleaner;
import java.net.SocketException;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A descriptor of the library that threads use while others may close it.
 *
 * <p>Its number is free for another socket once it is closed in C. So closing only shuts the socket down while threads
 * are in calls, which wakes them, and the last of them to leave closes it.
 */
final class Descriptor {
    private static final Cleaner FORGOTTEN = Cleaner.create();
    private static final int CLOSED = 1;
    private static final int USER = 2;

    private final int fd;
    private final Runnable afterwards;
    private final Cleaner.Cleanable cleanable;
    /** {@link #USER} for each thread in a call, and {@link #CLOSED}. */
    private final AtomicInteger state = new AtomicInteger();

    /**
     * A descriptor that is closed at the latest when nobody can use {@code owner} any more.
     *
     * @param afterwards is run when no thread is in a call any more; does not know the owner
     */
    Descriptor(int fd, Object owner, Runnable afterwards) {
        this.fd = fd;
        this.afterwards = afterwards;
        this.cleanable = FORGOTTEN.register(owner, this::shut);
    }

    /** The number, for calls until {@link #leave}. */
    int enter() throws SocketException {
        int seen;
        do {
            seen = state.get();
            if ((seen & CLOSED) != 0) {
                throw new SocketException("Socket closed");
            }
        } while (!state.compareAndSet(seen, seen + USER));
        return fd;
    }

    void leave() {
        if (state.addAndGet(-USER) == CLOSED) {
            end();
        }
    }

    boolean isClosed() {
        return (state.get() & CLOSED) != 0;
    }

    void close() {
        cleanable.clean();
    }

    private void shut() {
        int users = state.getAndUpdate(seen -> seen | CLOSED);
        if (users == 0) {
            end();
        } else {
            wake();
        }
    }

    /** Has all calls on it come back. A stream that has no peer yet cannot be shut down, but be told to give up. */
    private void wake() {
        Calls calls = Library.calls();
        if (calls.shutdown(fd, Linux.SHUT_RDWR) == -Linux.ENOTCONN) {
            try (NativeBuffer nobody = NativeBuffer.take()) {
                nobody.bytes.put(0, new byte[SocketAddresses.LENGTH]);
                calls.connect(fd, nobody.address, SocketAddresses.LENGTH);
            }
        }
    }

    private void end() {
        Library.calls().close(fd);
        afterwards.run();
    }
}
