package ntmfw;

import java.time.Duration;
import java.util.Optional;
import ntmfw.internal.Paths;

/**
 * How packets of a socket travel at a moment.
 *
 * @param kind whether directly or through a relay
 * @param networkInterface the interface of this host, empty where no path is in use
 * @param roundTrip the time there and back, where it is known
 * @param lossPerMille of 1,000 probes, those that were not answered
 */
public record PathInfo(Kind kind, String networkInterface, Optional<Duration> roundTrip, int lossPerMille) {
    private static final long NANOSECONDS = 1_000;

    /** What kinds of paths there are. */
    public enum Kind {
        /** No path is in use. */
        NONE,
        /** From host to host. */
        DIRECT,
        /** Through a relay of the provider, which cannot read it. */
        RELAYED
    }

    static PathInfo of(Paths.Path path) {
        long microseconds = path.roundTripMicroseconds();
        return new PathInfo(Kind.values()[path.kind()], path.networkInterface(),
            microseconds == 0 ? Optional.empty() : Optional.of(Duration.ofNanos(microseconds * NANOSECONDS)),
            path.lossPerMille());
    }
}
