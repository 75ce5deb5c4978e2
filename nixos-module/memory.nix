# natsmatrix.slice: what all of it together, and each service, may take of the memory of a small server.
{ config, lib, ... }:
let
  cfg = config.services.natsMatrix;
  inherit (import ./lib.nix { inherit lib; }) mebibytes memoryLimits size;

  # A server of 2 GB: its kernel and system services take some 160 MB, the page cache wants some, and the services that
  # such a server runs besides (Uptime Kuma, a Forgejo runner, Node Exporter) 640 MB.
  hostCanGive = 2048 - 640 - 256;

  # What runs at the same time: provisioning has the memory of the homeserver, which does not run then.
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
        Above this the kernel takes memory back from ${what} and slows it down (`MemoryHigh=`). Without swap a
        service that stays above it nearly stands still, so leave room over what it usually takes.
      '';
    };
    max = lib.mkOption {
      type = size;
      default = max;
      example = "160M";
      description = "At this ${what} is killed and started again (`MemoryMax=`).";
    };
  };
in
{
  options.services.natsMatrix.memory = {
    max = lib.mkOption {
      type = size;
      default = "400M";
      example = "1G";
      description = "What all services of nats-matrix may take together (`MemoryMax=` of `natsmatrix.slice`).";
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
        How much of the swap space the services may use together. None by default: what waits for the disk of a
        server in trouble tells nobody about the trouble.
      '';
    };
    # Measured: 12 MB with 100,000 messages waiting. The rest is for payloads of the largest size, and their files.
    bridge = limits "the bridge" "64M" "100M";
    # Measured: 47 MB idle, 102 MB after 10,000 messages with the caches that `conduit.settings` has by default.
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
      give (${toString hostCanGive}M). On a larger server this is no fault.
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
