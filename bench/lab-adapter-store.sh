# Keyway's embedded store in the place of a memcached server: one worker (or KEYWAY_WORKERS).
# The counterpart of the laboratory's "direct" rows; see lab-adapter.sh.
KIND=direct PROTOS="memcache meta" BIN=keyway
version() { keyway --version; }
start() { # protocol port backend(not used) folder
  exec keyway --listen "127.0.0.1:$2" --workers "${KEYWAY_WORKERS:-1}" --memory 1g --admin off
}
