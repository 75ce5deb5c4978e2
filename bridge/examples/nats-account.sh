#!/bin/sh
# The accounts of nats-account.conf, which says what each right is for, in a NATS with an operator: `nsc add operator` has
# been run, and `nsc push` or a resolver brings them to the servers afterwards. The credentials of each user are then in
# what `nsc generate creds --account OPS --name bridge` prints, for the bridge's credentials_file.
set -eu

nsc add account --name OPS
nsc edit account --name OPS --js-mem-storage -1 --js-disk-storage -1 --js-streams -1 --js-consumer -1
nsc add account --name MACHINES
nsc add account --name PEOPLE

nsc add user --account OPS --name admin

nsc add user --account OPS --name bridge \
  --allow-sub '_INBOX_nats-matrix.>' \
  --allow-pub '$JS.API.STREAM.INFO.OPS' \
  --allow-pub '$JS.API.STREAM.MSG.GET.OPS' \
  --allow-pub '$JS.API.CONSUMER.INFO.OPS.*' \
  --allow-pub '$JS.API.CONSUMER.MSG.NEXT.OPS.*' \
  --allow-pub '$JS.ACK.OPS.*.>' \
  --allow-pub '$JS.API.CONSUMER.CREATE.OPS' \
  --allow-pub '$JS.API.CONSUMER.CREATE.OPS.>' \
  --allow-pub '$JS.API.CONSUMER.DELETE.OPS.*' \
  --allow-pub '$JS.API.CONSUMER.LIST.OPS' \
  --allow-pub '$JS.API.INFO' \
  --allow-pub '$JS.API.STREAM.INFO.KV_nats-matrix-alerts' \
  --allow-pub '$JS.API.STREAM.CREATE.KV_nats-matrix-alerts' \
  --allow-pub '$JS.API.STREAM.UPDATE.KV_nats-matrix-alerts' \
  --allow-pub '$JS.API.DIRECT.GET.KV_nats-matrix-alerts.>' \
  --allow-pub '$KV.nats-matrix-alerts.>' \
  --allow-pub 'nats-matrix.held.>' \
  --allow-pub '$JS.API.STREAM.INFO.NATS_MATRIX_HELD' \
  --allow-pub '$JS.API.STREAM.CREATE.NATS_MATRIX_HELD' \
  --allow-pub '$JS.API.STREAM.UPDATE.NATS_MATRIX_HELD' \
  --allow-pub '$JS.API.STREAM.MSG.GET.NATS_MATRIX_HELD' \
  --allow-pub '$JS.API.CONSUMER.INFO.NATS_MATRIX_HELD.*' \
  --allow-pub '$JS.API.CONSUMER.MSG.NEXT.NATS_MATRIX_HELD.*' \
  --allow-pub '$JS.ACK.NATS_MATRIX_HELD.*.>' \
  --allow-pub '$JS.API.CONSUMER.CREATE.NATS_MATRIX_HELD' \
  --allow-pub '$JS.API.CONSUMER.CREATE.NATS_MATRIX_HELD.>' \
  --allow-pub '$JS.API.CONSUMER.DELETE.NATS_MATRIX_HELD.*' \
  --allow-pub 'nats-matrix.answer.>' \
  --allow-pub '$JS.API.STREAM.INFO.NATS_MATRIX_ANSWERS' \
  --allow-pub '$JS.API.STREAM.CREATE.NATS_MATRIX_ANSWERS' \
  --allow-pub '$JS.API.STREAM.UPDATE.NATS_MATRIX_ANSWERS' \
  --allow-pub 'nats-matrix.dead-letter.>' \
  --allow-pub '$JS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS' \
  --allow-pub '$JS.API.STREAM.CREATE.NATS_MATRIX_DEAD_LETTERS' \
  --allow-pub '$JS.API.STREAM.UPDATE.NATS_MATRIX_DEAD_LETTERS'

nsc add user --account OPS --name listener \
  --allow-sub 'ops.>' \
  --deny-pub '>'

nsc add user --account MACHINES --name server-01 \
  --allow-sub '_INBOX_nats-matrix-publish.server-01.>' \
  --allow-pub 'ops.report.server-01' \
  --allow-pub 'ops.alert.server-01' \
  --allow-pub '$JS.OPS.API.STREAM.NAMES' \
  --allow-pub '$JS.OPS.API.DIRECT.GET.OPS.ops.report.server-01' \
  --allow-pub '$JS.OPS.API.DIRECT.GET.OPS.ops.alert.server-01'

nsc add user --account MACHINES --name server-02 \
  --allow-sub '_INBOX_nats-matrix-publish.server-02.>' \
  --allow-pub 'ops.report.server-02' \
  --allow-pub 'ops.alert.server-02' \
  --allow-pub '$JS.OPS.API.STREAM.NAMES' \
  --allow-pub '$JS.OPS.API.DIRECT.GET.OPS.ops.report.server-02' \
  --allow-pub '$JS.OPS.API.DIRECT.GET.OPS.ops.alert.server-02'

nsc add user --account PEOPLE --name alice \
  --allow-sub '_INBOX_alice.>' \
  --allow-pub '$JS.OPS.API.STREAM.NAMES' \
  --allow-pub '$JS.OPS.API.STREAM.INFO.OPS' \
  --allow-pub '$JS.OPS.API.STREAM.MSG.GET.OPS' \
  --allow-pub '$JS.OPS.API.CONSUMER.NAMES.OPS' \
  --allow-pub '$JS.OPS.API.CONSUMER.INFO.OPS.*' \
  --allow-pub '$JS.OPS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS' \
  --allow-pub '$JS.OPS.API.STREAM.MSG.GET.NATS_MATRIX_DEAD_LETTERS'

token=$(mktemp)
trap 'rm -f "$token"' EXIT

# offer SUBJECT: exports a subject of OPS to those accounts alone to which it is given.
offer() {
  nsc add export --account OPS --private --service --name "$1" --subject "$1"
}

# give ACCOUNT SUBJECT [NAME]: has an account use a subject of OPS, by that name.
give() {
  nsc generate activation --account OPS --target-account "$1" --subject "$2" --output-file "$token"
  nsc add import --account "$1" --name "$2" --local-subject "${3:-$2}" --token "$token"
}

offer 'ops.report.*'
offer 'ops.alert.*'
offer '$JS.API.STREAM.NAMES'
offer '$JS.API.DIRECT.GET.OPS.ops.report.*'
offer '$JS.API.DIRECT.GET.OPS.ops.alert.*'
offer '$JS.API.STREAM.INFO.OPS'
offer '$JS.API.STREAM.MSG.GET.OPS'
offer '$JS.API.CONSUMER.NAMES.OPS'
offer '$JS.API.CONSUMER.INFO.OPS.*'
offer '$JS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS'
offer '$JS.API.STREAM.MSG.GET.NATS_MATRIX_DEAD_LETTERS'

give MACHINES 'ops.report.*'
give MACHINES 'ops.alert.*'
give MACHINES '$JS.API.STREAM.NAMES' '$JS.OPS.API.STREAM.NAMES'
give MACHINES '$JS.API.DIRECT.GET.OPS.ops.report.*' '$JS.OPS.API.DIRECT.GET.OPS.ops.report.*'
give MACHINES '$JS.API.DIRECT.GET.OPS.ops.alert.*' '$JS.OPS.API.DIRECT.GET.OPS.ops.alert.*'

give PEOPLE '$JS.API.STREAM.NAMES' '$JS.OPS.API.STREAM.NAMES'
give PEOPLE '$JS.API.STREAM.INFO.OPS' '$JS.OPS.API.STREAM.INFO.OPS'
give PEOPLE '$JS.API.STREAM.MSG.GET.OPS' '$JS.OPS.API.STREAM.MSG.GET.OPS'
give PEOPLE '$JS.API.CONSUMER.NAMES.OPS' '$JS.OPS.API.CONSUMER.NAMES.OPS'
give PEOPLE '$JS.API.CONSUMER.INFO.OPS.*' '$JS.OPS.API.CONSUMER.INFO.OPS.*'
give PEOPLE '$JS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS' '$JS.OPS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS'
give PEOPLE '$JS.API.STREAM.MSG.GET.NATS_MATRIX_DEAD_LETTERS' '$JS.OPS.API.STREAM.MSG.GET.NATS_MATRIX_DEAD_LETTERS'
