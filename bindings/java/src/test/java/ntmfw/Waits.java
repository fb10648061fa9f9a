package ntmfw;

import java.io.IOException;
import java.util.Arrays;

/** Whether a thread waits inside a native call, which Java itself calls running. */
final class Waits {
    private static final String CALLS = "ntmfw.internal.J";

    private Waits() {}

    /** Comes back when the thread is in this native call of the library, where it is to be woken. */
    static void until(Thread thread, String call) throws IOException {
        Eventually.assertEquals(true, () -> Arrays.stream(thread.getStackTrace()).limit(2)
            .anyMatch(frame -> frame.getClassName().startsWith(CALLS) && frame.isNativeMethod()
                && frame.getMethodName().endsWith(call)));
    }
}
