package ntmfw;

import static org.junit.jupiter.api.Assertions.fail;

import java.io.IOException;
import java.time.Duration;
import java.util.Objects;

/** What becomes true while others work. */
final class Eventually {
    private static final Duration PATIENCE = Duration.ofSeconds(Neighbour.PATIENCE_SECONDS / 2);
    private static final long STEP_MILLISECONDS = 5;

    private Eventually() {}

    /** A value that changes. */
    interface Value<T> {
        T now() throws IOException;
    }

    static <T> void assertEquals(T expected, Value<T> value) throws IOException {
        long until = System.nanoTime() + PATIENCE.toNanos();
        T last = value.now();
        while (!Objects.equals(expected, last)) {
            if (System.nanoTime() > until) {
                fail("expected " + expected + " at last, but it stays " + last);
            }
            try {
                Thread.sleep(STEP_MILLISECONDS);
            } catch (InterruptedException interrupted) {
                throw new AssertionError(interrupted);
            }
            last = value.now();
        }
    }
}
