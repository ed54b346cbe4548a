# Keyway as a proxy for cache proxy laboratories: one worker, one pool of one backend.
# Sourced by a driver that calls version, and start PROTOCOL PORT BACKEND FOLDER.
# The environment's KEYWAY_ENGINE (epoll or io_uring) chooses the kernel interface.
KIND=ours PROTOS="memcache meta redis" BIN=keyway
version() { keyway --version; }
start() { # protocol port backend(host:port) folder-for-files
  local speaks=memcached
  if [ "$1" = redis ]; then speaks=redis; fi
  cat > "$4/keyway.toml" <<X
workers = 1
admin = false

[listeners.lab]
address = "127.0.0.1:$2"
protocol = "$speaks"

[pools.lab]
protocol = "$speaks"
servers = ["$3"]
X
  exec keyway --config "$4/keyway.toml"
}
