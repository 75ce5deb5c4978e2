#!/bin/sh
# The account of nats-account.conf, which says what each right is for, in a NATS with an operator: `nsc add operator` has
# been run, and `nsc push` or a resolver brings it to the servers afterwards. The credentials of each user are then in
# what `nsc generate creds --account OPS --name bridge` prints, for the bridge's credentials_file.
set -eu

nsc add account --name OPS
nsc edit account --name OPS --js-mem-storage -1 --js-disk-storage -1 --js-streams -1 --js-consumer -1

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
  --allow-pub 'nats-matrix.dead-letter.>' \
  --allow-pub '$JS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS' \
  --allow-pub '$JS.API.STREAM.CREATE.NATS_MATRIX_DEAD_LETTERS' \
  --allow-pub '$JS.API.STREAM.UPDATE.NATS_MATRIX_DEAD_LETTERS'

nsc add user --account OPS --name server-01 \
  --allow-sub '_INBOX_nats-matrix-publish.server-01.>' \
  --allow-pub 'ops.report.server-01' \
  --allow-pub 'ops.alert.server-01' \
  --allow-pub '$JS.API.STREAM.NAMES' \
  --allow-pub '$JS.API.DIRECT.GET.OPS.ops.report.server-01' \
  --allow-pub '$JS.API.DIRECT.GET.OPS.ops.alert.server-01'

nsc add user --account OPS --name server-02 \
  --allow-sub '_INBOX_nats-matrix-publish.server-02.>' \
  --allow-pub 'ops.report.server-02' \
  --allow-pub 'ops.alert.server-02' \
  --allow-pub '$JS.API.STREAM.NAMES' \
  --allow-pub '$JS.API.DIRECT.GET.OPS.ops.report.server-02' \
  --allow-pub '$JS.API.DIRECT.GET.OPS.ops.alert.server-02'

nsc add user --account OPS --name alice \
  --allow-sub '_INBOX_alice.>' \
  --allow-sub 'ops.>' \
  --allow-pub '$JS.API.STREAM.NAMES' \
  --allow-pub '$JS.API.STREAM.INFO.OPS' \
  --allow-pub '$JS.API.STREAM.MSG.GET.OPS' \
  --allow-pub '$JS.API.CONSUMER.NAMES.OPS' \
  --allow-pub '$JS.API.CONSUMER.INFO.OPS.*' \
  --allow-pub '$JS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS' \
  --allow-pub '$JS.API.STREAM.MSG.GET.NATS_MATRIX_DEAD_LETTERS'
