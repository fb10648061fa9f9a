package ntmfw.internal;

import java.net.BindException;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.PortUnreachableException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.io.IOException;

/** What a negated {@code errno} is in Java. To be asked on the thread that made the call, which has its explanation. */
public final class Failure {
    private Failure() {}

    /** What the library says of an error. */
    static String explain(int error) {
        return Library.calls().text(Library.calls().strerror(error));
    }

    /** What any call on a socket may end with. */
    static SocketException of(int error) {
        return switch (error) {
            case Linux.ECONNRESET -> new SocketException("Connection reset");
            case Linux.EPIPE -> new SocketException("Broken pipe: the connection is over or was shut down");
            case Linux.EHOSTUNREACH, Linux.ENETUNREACH -> new NoRouteToHostException(explain(error));
            default -> new SocketException(explain(error));
        };
    }

    static IOException connecting(int error, SocketAddresses.Shown to) {
        return switch (error) {
            case Linux.EINPROGRESS, Linux.EAGAIN, Linux.EALREADY ->
                new SocketTimeoutException("Connect timed out: " + to);
            case Linux.ECONNREFUSED -> new ConnectException("Connection refused: nobody listens at " + to);
            case Linux.ETIMEDOUT -> new ConnectException("Connection timed out: " + to);
            case Linux.EHOSTUNREACH, Linux.ENETUNREACH -> new NoRouteToHostException(explain(error) + ": " + to);
            default -> new SocketException(explain(error) + ": " + to);
        };
    }

    static SocketException binding(int error, SocketAddresses.Shown to) {
        return switch (error) {
            case Linux.EADDRINUSE, Linux.EADDRNOTAVAIL, Linux.EACCES ->
                new BindException(explain(error) + ": " + to);
            default -> of(error);
        };
    }

    /** Of a datagram: that nobody has the port comes from the peer. */
    static SocketException datagram(int error) {
        return error == Linux.ECONNREFUSED ? new PortUnreachableException(explain(error)) : of(error);
    }

    /** Of what concerns the library as a whole. */
    public static IOException library(int error) {
        return new IOException("ntmfw: " + explain(error));
    }
}
