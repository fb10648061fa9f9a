"""A server that listens in one process and answers in another one.

    leaving.py exit|_exit|daemon|exec NUMBER    NUMBER is written to: the process that answers
    leaving.py answer DESCRIPTOR
"""

import ctypes
import os
import socket
import sys


def answer(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhere")


def main():
    way, rest = sys.argv[1:]
    if way == "answer":
        return answer(socket.socket(fileno=int(rest)))
    listener = socket.create_server(("0.0.0.0", 8000))
    match way:
        case "exit" if os.fork():
            sys.exit()
        case "_exit" if os.fork():
            os._exit(0)
        case "daemon":
            ctypes.CDLL(None).daemon(1, 0)
        case "exec":
            os.set_inheritable(listener.fileno(), True)
            os.execv(sys.executable, [sys.executable, __file__, "answer", str(listener.detach())])
    with open(rest, "w") as number:
        number.write(str(os.getpid()))
    answer(listener)


main()
