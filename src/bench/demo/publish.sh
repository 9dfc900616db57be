# Signs a command request as docs/signing.md says, and publishes it: sh publish.sh REQUEST
set -eu
topic=$base/commands/$api_id
timestamp=$(date +%s)
nonce=$(openssl rand -hex 16)
# Stands in for the time where the vehicle cannot trust its clock.
challenge=$(mosquitto_sub -V 5 -h "$host" -p "$port" -q 1 -C 1 -W 10 -t "$base/presence" |
  sed 's/.*"challenge":"\([^"]*\)".*/\1/')
digest=$(printf %s "$1" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
signature=$(printf '%s\n%s\n%s\n%s\n%s\n%s' \
  MQTT "$topic" "$timestamp" "$nonce" "$digest" "$challenge" |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(cut -d : -f 2 "$key")" -r | cut -d ' ' -f 1)
mosquitto_pub -V 5 -h "$host" -p "$port" -q 1 -t "$topic" -m "$1" \
  -D PUBLISH user-property X-Api-Id "$api_id" \
  -D PUBLISH user-property X-Api-Timestamp "$timestamp" \
  -D PUBLISH user-property X-Api-Nonce "$nonce" \
  -D PUBLISH user-property X-Api-Challenge "$challenge" \
  -D PUBLISH user-property X-Api-Signature "$signature"
