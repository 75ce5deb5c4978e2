# natsmatrix.slice: the memory limits of all services together and of each one, on a small server.
{ config, lib, ... }:
let
  cfg = config.services.natsMatrix;
  inherit (import ./lib.nix { inherit lib; }) mebibytes memoryLimits size;

  # A server of 2 GB: its kernel and system services use about 160 MB, the page cache needs some, and the other services
  # of such a server (Uptime Kuma, a Forgejo runner, Node Exporter) use 640 MB.
  hostCanGive = 2048 - 640 - 256;

  # The parts that run at the same time. Provisioning has the limits of the homeserver, which does not run meanwhile.
  parts = lib.filterAttrs (name: _: name == "bridge" || cfg.${name}.enable) {
    inherit (cfg.memory) bridge conduit tunnel;
  };
  total = mebibytes cfg.memory.max;
  sum = lib.foldlAttrs (
    acc: _: part:
    acc + mebibytes part.max
  ) 0 parts;
  listed = lib.concatStringsSep " + " (lib.mapAttrsToList (name: part: "${name} ${part.max}") parts);

  limits = what: high: max: {
    high = lib.mkOption {
      type = size;
      default = high;
      example = "120M";
      description = ''
        Above this the kernel reclaims memory from ${what} and slows it down (`MemoryHigh=`). Without swap, a service that
        stays above it nearly stands still, so leave room above its usual amount.
      '';
    };
    max = lib.mkOption {
      type = size;
      default = max;
      example = "160M";
      description = "At this limit ${what} is killed and restarted (`MemoryMax=`).";
    };
  };
in
{
  options.services.natsMatrix.memory = {
    max = lib.mkOption {
      type = size;
      default = "400M";
      example = "1G";
      description = "The memory that all services of nats-matrix may use together (`MemoryMax=` of `natsmatrix.slice`).";
    };
    swapMax = lib.mkOption {
      type = lib.types.either size (
        lib.types.enum [
          "0"
          "infinity"
        ]
      );
      default = "0";
      example = "100M";
      description = ''
        The swap space that the services may use together. None by default: a service that waits for the disk of a server
        in trouble cannot report the trouble.
      '';
    };
    # Measured: 12 MB with 100,000 messages waiting. The rest is for payloads of the largest size and their attachments.
    bridge = limits "the bridge" "64M" "100M";
    # Measured: 47 MB idle, 102 MB after 10,000 messages, with the default caches of `conduit.settings`.
    conduit = limits "the homeserver" "150M" "200M";
    tunnel = limits "cloudflared" "80M" "100M";
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = sum <= total;
        message = ''
          services.natsMatrix.memory: the parts (${listed} = ${toString sum}M) exceed the whole (max = ${cfg.memory.max}).
          Raise services.natsMatrix.memory.max or lower a part.
        '';
      }
    ]
    ++ lib.mapAttrsToList (name: part: {
      assertion = mebibytes part.high <= mebibytes part.max;
      message = "services.natsMatrix.memory.${name}: high (${part.high}) exceeds max (${part.max}).";
    }) parts;

    warnings = lib.optional (total > hostCanGive) ''
      services.natsMatrix.memory.max = ${cfg.memory.max} is more than a server of 2 GB that also runs other services can
      give (${toString hostCanGive}M). On a larger server you can ignore this.
    '';

    systemd.slices.natsmatrix = {
      description = "Reports and alerts from NATS to Matrix";
      sliceConfig = {
        MemoryMax = cfg.memory.max;
        MemorySwapMax = cfg.memory.swapMax;
      };
    };

    systemd.services = lib.mapAttrs' (
      name: part:
      lib.nameValuePair (if name == "bridge" then "nats-matrix" else "nats-matrix-${name}") {
        serviceConfig = memoryLimits part;
      }
    ) parts;
  };
}
