# The programs of `make shim-test-all`: sourced by run, whose functions it uses. Long or seldom installed, so not in CI.
# shellcheck shell=bash

head -c 30000000 /dev/urandom >"$work/site/large"

curl_moves_much() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/tls.key" -out "$work/tls.pem" -days 2 \
        -subj /CN=a.ntm.example -addext subjectAltName=DNS:a.ntm.example 2>/dev/null || return 1
    mkdir -p "$work/nginx" && truncate -s 1G "$work/site/huge"
    cat >"$work/nginx/nginx.conf" <<CONF
master_process on; worker_processes 2; error_log stderr; pid $work/nginx/pid;
events { worker_connections 256; }
http {
    access_log off; sendfile on; tcp_nopush on; client_body_temp_path $work/nginx/body; client_max_body_size 0;
    proxy_temp_path $work/nginx/p; fastcgi_temp_path $work/nginx/f; uwsgi_temp_path $work/nginx/u; scgi_temp_path $work/nginx/s;
    server {
        listen 8080; listen 8443 ssl http2; ssl_certificate $work/tls.pem; ssl_certificate_key $work/tls.key;
        root $work/site;
        location /put { proxy_pass http://127.0.0.1:8081; }
    }
    server { listen 127.0.0.1:8081; location / { client_body_in_file_only clean; return 200; } }
}
CONF
    serve_nginx off && until_true client 20 nc -z a.ntm.example 8080 || return 1
    client 100 curl -sS -o "$work/got" http://a.ntm.example:8080/large && cmp "$work/site/large" "$work/got" || return 1
    client 100 curl -sS --http2 --cacert "$work/tls.pem" -o "$work/got" https://a.ntm.example:8443/large &&
        cmp "$work/site/large" "$work/got" || return 1
    client 100 curl -sS -T "$work/site/large" http://a.ntm.example:8080/put || return 1
    [ "$(client 300 curl -sS -o /dev/null -w '%{size_download}' http://a.ntm.example:8080/huge)" = 1073741824 ]
}
# serve_nginx off|on: whether it goes into the background.
serve_nginx() {
    # A worker that became nobody could not read the site: this namespace has one user.
    on_a 8080,8443 /usr/sbin/nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" -g "user root; daemon $1;"
}
wrk_loads_nginx() {
    serve_nginx off && until_true client 20 nc -z a.ntm.example 8080 &&
        client 60 wrk -t 2 -c 50 -d 3 http://a.ntm.example:8080/file | tee "$work/wrk" &&
        ! grep -q 'Socket errors' "$work/wrk" && grep -q 'requests in' "$work/wrk"
}
# in_background PIDFILE COMMAND...: whether the command succeeds in the end while servers run that their own process has
# left. They are ended.
in_background() {
    local file=$1 status=0
    # What is waited for is not over when the process is that was started.
    start sleep 600
    until_true "${@:2}" || status=1
    kill "$(cat "$file")" || status=1
    return "$status"
}
nginx_becomes_a_daemon() {
    serve_nginx on
    got() { client 60 curl -sS --max-time 30 -o "$work/got" http://a.ntm.example:8080/large; }
    in_background "$work/nginx/pid" got && cmp "$work/site/large" "$work/got"
}
redis_becomes_a_daemon() {
    on_a 6379 redis-server --save '' --protected-mode no --bind 0.0.0.0 --dir "$work" --daemonize yes --pidfile "$work/redis.pid"
    in_background "$work/redis.pid" client 20 redis-cli -h a.ntm.example ping
}
# haproxy_passes_on db|D: in the foreground or the background.
haproxy_passes_on() {
    cat >"$work/haproxy.conf" <<CONF
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen front
    bind 0.0.0.0:8090
    option splice-auto
    server back 127.0.0.1:8091
CONF
    start python3 -m http.server --directory "$work/site" 8091 --bind 127.0.0.1
    until_true nc -z 127.0.0.1 8091 || return 1
    got() { client 60 curl -sS --max-time 30 -o "$work/got" http://a.ntm.example:8090/large; }
    on_a 8090 haproxy "-$1" -p "$work/haproxy.pid" -f "$work/haproxy.conf"
    if [ "$1" = D ]; then in_background "$work/haproxy.pid" got; else until_true got; fi &&
        cmp "$work/site/large" "$work/got"
}
redis_answers() {
    serve 6379 redis-server --save '' --protected-mode no --bind 0.0.0.0 --dir "$work" || return 1
    client 20 redis-cli -h a.ntm.example set word hello && [ "$(client 20 redis-cli -h a.ntm.example get word)" = hello ] &&
        client 100 redis-benchmark -h a.ntm.example -n 20000 -c 20 -P 4 -t set,get -q
}
postgres_answers() {
    local programs data=$work/postgres
    programs=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | tail -1)")
    # As nobody, who has a name on every machine.
    unshare --user --map-user=65534 --map-group=65534 "$programs/initdb" -D "$data" -U guest -A trust >/dev/null || return 1
    echo 'host all all all trust' >>"$data/pg_hba.conf"
    serve_as_guest 5432 "$programs/postgres" -D "$data" -k "$work" -c listen_addresses=0.0.0.0 || return 1
    [ "$(client 60 psql -h a.ntm.example -U guest -d postgres -Atc 'select 6 * 7')" = 42 ] &&
        client 60 pgbench -h a.ntm.example -U guest -i -q postgres &&
        client 100 pgbench -h a.ntm.example -U guest -c 4 -T 3 postgres
}
git_clones() {
    local repository=$work/site/repository.git from=$work/from
    [ -e "$repository" ] || {
        git init -q "$from" && cp "$work/site/large" "$from/" && git -C "$from" add . &&
            git -C "$from" -c user.name=a -c user.email=a@b commit -qm one &&
            git clone -q --bare "$from" "$repository" && git -C "$repository" update-server-info
    } || return 1
    rm -rf "$work/clone"
    if [ "$1" = http ]; then
        serve 8000 python3 -m http.server --directory "$work/site" 8000 &&
            client 100 git clone -q http://a.ntm.example:8000/repository.git "$work/clone"
    else
        sshd_serves && GIT_SSH_COMMAND="ssh ${ssh_options[*]} -p 2222" \
            client 100 git clone -q "guest@a.ntm.example:$repository" "$work/clone"
    fi && cmp "$work/site/large" "$work/clone/large"
}
rsync_and_scp_copy() {
    sshd_serves || return 1
    client 100 rsync -e "ssh ${ssh_options[*]} -p 2222" "$work/site/large" "guest@a.ntm.example:$work/got" &&
        cmp "$work/site/large" "$work/got" && rm "$work/got" &&
        client 100 scp -q "${ssh_options[@]}" -P 2222 "$work/site/large" "guest@a.ntm.example:$work/got" &&
        cmp "$work/site/large" "$work/got"
}
openssl_speaks() {
    serve 4433 openssl s_server -quiet -accept 4433 -cert "$work/tls.pem" -key "$work/tls.key" -WWW || return 1
    client 60 sh -c 'printf "GET /missing HTTP/1.0\r\n\r\n" |
        openssl s_client -quiet -verify_return_error -CAfile "$1" -connect a.ntm.example:4433' sh "$work/tls.pem" |
        grep -q missing
}
requests_gets() {
    serve 8000 python3 -m http.server --directory "$work/site" 8000 &&
        client 60 /usr/bin/python3 -c '
import requests
assert requests.get("http://a.ntm.example:8000/file").content == open("'"$work"'/site/file", "rb").read()'
}
node_serves_and_gets() {
    serve 8000 node -e 'require("http").createServer((asked, answer) => asked.pipe(answer)).listen(8000, "0.0.0.0")' &&
        client 60 node -e '
fetch("http://a.ntm.example:8000/", { method: "POST", body: "x".repeat(300000) }).then(async (answer) => {
    const text = await answer.text();
    process.exit(text.length === 300000 ? 0 : 1);
})'
}
java_serves_and_gets() {
    cat >"$work/Serve.java" <<'JAVA'
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
public class Serve {
    public static void main(String[] words) throws Exception {
        var port = ServerSocketChannel.open().bind(new InetSocketAddress(8000));
        for (;;) {
            try (var client = port.accept()) {
                var room = ByteBuffer.allocate(65536);
                if (client.read(room) <= 0) continue;
                client.write(ByteBuffer.wrap("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello".getBytes()));
            }
        }
    }
}
JAVA
    cat >"$work/Get.java" <<'JAVA'
import java.net.*;
import java.net.http.*;
public class Get {
    public static void main(String[] words) throws Exception {
        var request = HttpRequest.newBuilder(URI.create("http://a.ntm.example:8000/")).build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        if (!answer.body().equals("hello")) throw new Exception(answer.body());
    }
}
JAVA
    serve 8000 java "$work/Serve.java" && client 100 java "$work/Get.java"
}
ruby_serves_and_gets() {
    serve 8000 ruby -run -e httpd -- -p 8000 "$work/site" || serve 8000 ruby -e '
require "webrick"
WEBrick::HTTPServer.new(Port: 8000, DocumentRoot: ARGV[0]).start' "$work/site" || return 1
    client 60 ruby -e '
require "net/http"
exit Net::HTTP.get(URI("http://a.ntm.example:8000/file")) == File.binread(ARGV[0])' "$work/site/file"
}
# is_refused WORDS PROGRAM: `ntm run` says why it cannot be run, as shells do.
is_refused() {
    local status=0
    client 20 "$2" 2>"$work/told" || status=$?
    [ "$status" -eq 126 ] && grep -q "$1" "$work/told"
}
static_is_refused() {
    echo 'int main(void) { return 0; }' | cc -static -x c - -o "$work/static" && is_refused 'linked statically' "$work/static"
}
other_users_are_refused() {
    cp "$(type -P true)" "$work/other" && chmod u+s "$work/other" && is_refused 'changes its user' "$work/other"
}
# Every name has one address there. dnsmasq would not do: it answers nobody who did not come by an interface that it knows.
dig_asks_a_node() {
    on_a 5353 python3 -c '
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 5353))
while True:
    query, sender = server.recvfrom(512)
    question = query[12:query.index(0, 12) + 5]
    head = query[:2] + bytes([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
    answer = bytes([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7])
    server.sendto(head + question + answer, sender)'
    answered() { [ "$(client 60 dig +short +tries=1 -p 5353 @a.ntm.example there.example)" = 192.0.2.7 ]; }
    until_true answered
}

# Three programs on three nodes in a network of their own, whose address changes twice while they run.
#
#   ┌── clients ──────────┐       ┌── the others ─────────────┐
#   │ d0 10.78.1.2 ───────┼──veth─┼─ k0 10.78.1.1             │
#   │  then 10.78.2.2,    │       │     10.78.2.1  d0 10.77.0.1, a and e: ssh and redis
#   │  then 10.78.1.3     │       └───────────────────────────┘
#   └─────────────────────┘
moves_break_nothing() {
    local clients copied counted talked
    truncate -s 1G "$work/huge"
    sshd_serves || return 1
    NTMFW_CONFIG=$work/nodes/e/config.toml start "$run" --listen 6379 -- \
        redis-server --save '' --protected-mode no --bind 0.0.0.0 --dir "$work"
    start unshare --net sleep 600
    clients=${servers[-1]}
    until_true differs "/proc/$clients/ns/net" /proc/self/ns/net || return 1
    ip link add k0 type veth peer name d0 netns "$clients" || return 1
    ip address add 10.78.1.1/24 dev k0 && ip address add 10.78.2.1/24 dev k0 && ip link set k0 up
    in_clients ip link set lo up && move_to 10.78.1.2 10.78.1.1 || return 1
    until_true in_clients as_node d 20 redis-cli -h e.ntm.example ping || return 1

    in_clients as_node b 900 scp -q -l 400000 "${ssh_options[@]}" -P 2222 "$work/huge" "guest@a.ntm.example:$work/got" &
    copied=$!
    in_clients as_node c 600 ssh "${ssh_options[@]}" -p 2222 guest@a.ntm.example \
        'for n in $(seq 60); do echo "line $n"; sleep 0.25; done' >"$work/talk" &
    talked=$!
    in_clients as_node d 600 redis-cli -h e.ntm.example -r 60 -i 0.25 incr count >"$work/count" &
    counted=$!
    await '^line 5$' "$work/talk" && move_to 10.78.2.2 10.78.2.1 || return 1
    await '^line 30$' "$work/talk" && move_to 10.78.1.3 10.78.1.1 || return 1
    wait "$talked" && wait "$counted" && wait "$copied" || return 1
    [ "$(tail -1 "$work/talk")" = 'line 60' ] && [ "$(wc -l <"$work/talk")" = 60 ] || return 1
    [ "$(tail -1 "$work/count")" = 60 ] && [ "$(wc -l <"$work/count")" = 60 ] || return 1
    cmp "$work/huge" "$work/got"
}
differs() { [ "$(readlink "$1")" != "$(readlink "$2")" ]; }
in_clients() {
    local words
    printf -v words '%q ' "$@"
    # Functions of this script, in the other network.
    nsenter "--net=/proc/$clients/ns/net" bash -c "$(declare -f as_node); work=$work run=$run; $words"
}
# move_to ADDRESS GATEWAY: the clients' network is another one from now on.
move_to() {
    in_clients ip address flush dev d0 && in_clients ip address add "$1/24" dev d0 && in_clients ip link set d0 up &&
        in_clients ip route replace default via "$2"
}

check 'curl and nginx: HTTP/1.1, HTTP/2 with TLS, upload, 1 GB: works' curl_moves_much
check 'wrk and nginx with two workers: works' wrk_loads_nginx
check 'nginx that goes into the background: works, with a process that keeps its ports' nginx_becomes_a_daemon
check 'haproxy, with splice: works' haproxy_passes_on db
check 'haproxy -D: works, with a process that keeps its ports' haproxy_passes_on D
check 'redis-server, redis-cli and redis-benchmark: works' redis_answers
check 'redis-server that goes into the background: works' redis_becomes_a_daemon
check 'PostgreSQL, psql and pgbench: works' postgres_answers
check 'git over http: works' git_clones http
check 'git over ssh: works' git_clones ssh
check 'rsync and scp: works' rsync_and_scp_copy
check 'openssl s_server and s_client: works' openssl_speaks
check 'Python requests: works' requests_gets
check 'Node.js, server and client: works' node_serves_and_gets
check 'Java ServerSocketChannel and HttpClient: works' java_serves_and_gets
check 'Ruby WEBrick and Net::HTTP: works' ruby_serves_and_gets
check 'dig: works' dig_asks_a_node
check 'statically linked programs: cannot, because nothing can be preloaded' static_is_refused
check 'programs that change their user: cannot, because the system preloads nothing' other_users_are_refused
check 'an ssh session, scp of 1 GB and redis go on while the network changes twice' moves_break_nothing
