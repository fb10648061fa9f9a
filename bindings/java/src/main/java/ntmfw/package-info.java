/**
 * Sockets of {@code java.net} that reach a node by its name, wherever it is: through NATs, and through changes of
 * network while connected.
 */
package ntmfw;
