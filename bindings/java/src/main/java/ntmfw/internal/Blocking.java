package ntmfw.internal;

import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/** Calls that wait: a platform thread waits in the library, a virtual one is parked, so that its carrier is free. */
final class Blocking {
    private Blocking() {}

    /** A call that waits unless {@code flags} has {@code MSG_DONTWAIT}. */
    interface Call {
        long make(int flags);
    }

    /**
     * Makes a call until it comes to something.
     *
     * @param patience in milliseconds, 0 for ever; the library itself knows it as the socket's time-out
     * @return what the call gave; {@code -EAGAIN} where nothing came in time
     */
    static long call(Descriptor descriptor, int fd, Supplier<Poller> poller, int patience, Call call) {
        if (!VirtualThreads.isCurrent()) {
            return uninterrupted(call);
        }
        long until = deadline(patience);
        while (true) {
            long result = call.make(Linux.MSG_DONTWAIT);
            if (result == -Linux.EAGAIN) {
                if (!poller.get().await(descriptor, fd, until)) {
                    return result;
                }
            } else if (result != -Linux.EINTR) {
                return result;
            }
        }
    }

    /** The same for calls that know no {@code MSG_DONTWAIT}, and that only one thread makes at a time. */
    static long callWhenReady(Descriptor descriptor, int fd, Supplier<Poller> poller, int patience, Call call) {
        if (VirtualThreads.isCurrent() && !poller.get().await(descriptor, fd, deadline(patience))) {
            return -Linux.EAGAIN;
        }
        return uninterrupted(call);
    }

    private static long uninterrupted(Call call) {
        long result;
        do {
            result = call.make(0);
        } while (result == -Linux.EINTR);
        return result;
    }

    /** In nanoseconds of {@link System#nanoTime}; {@link Long#MAX_VALUE} for never. */
    static long deadline(int patience) {
        return patience == 0 ? Long.MAX_VALUE : System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(patience);
    }
}
