#!/bin/sh
# Makes what TLS between a relay and the NATS servers of its cluster needs: an authority of its own, a
# certificate for each server, and one for the relay.
#
#   cluster-certificates.sh FOLDER SERVER…
#
# A server is the name or address by which others reach it, or several with commas between them. Where FOLDER
# has an authority already, that one signs: for one more server, or anew before the time is over.
# WATTLE_CLUSTER_DAYS says how long all of it is good for [default: 3650].
set -eu
umask 077
[ $# -ge 2 ] || { sed -n 's/^#\( \{0,1\}\)//p' "$0" | sed '1d' >&2; exit 2; }
folder=$1 days=${WATTLE_CLUSTER_DAYS:-3650}
shift
mkdir -p "$folder"
cd "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '%s\n' "$@"; }

key() { # key NAME: a key of its own, and what is to be signed of it
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1-key.pem" \
        -config "$work/empty" -subj "/CN=$1" -out "$work/asked" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
}

sign() { # sign NAME LINE…: for as long as the authority, with these lines
    name=$1
    shift
    say 'basicConstraints = critical, CA:FALSE' 'keyUsage = critical, digitalSignature' "$@" >"$work/lines"
    openssl x509 -req -in "$work/asked" -CA ca.pem -CAkey ca-key.pem -set_serial "0x00$(openssl rand -hex 15)" \
        -days "$days" -extfile "$work/lines" -out "$name.pem" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
    chmod 644 "$name.pem"
    echo "$name.pem, $name-key.pem"
}

say '[req]' 'distinguished_name = name' '[name]' >"$work/empty"
if [ ! -e ca-key.pem ]; then
    say 'basicConstraints = critical, CA:TRUE' 'keyUsage = critical, keyCertSign' 'subjectKeyIdentifier = hash' >"$work/lines"
    key ca
    openssl x509 -req -in "$work/asked" -signkey ca-key.pem -set_serial "0x00$(openssl rand -hex 15)" \
        -days "$days" -extfile "$work/lines" -out ca.pem 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
    chmod 644 ca.pem
    echo "ca.pem, ca-key.pem: keep the key away from the servers"
fi
for server in "$@"; do
    names= name=${server%%,*}
    for one in $(echo "$server" | tr ',' ' '); do
        case $one in
        *:*) kind=IP ;;
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
        esac
        names=${names:+$names, }$kind:$one
    done
    key "$name"
    # Servers are clients of each other.
    sign "$name" "subjectAltName = $names" 'extendedKeyUsage = serverAuth, clientAuth'
done
key relay
sign relay 'subjectAltName = DNS:wattle-rendezvous' 'extendedKeyUsage = clientAuth'
