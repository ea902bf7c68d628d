# syntax=docker/dockerfile:1
FROM python:3.11-slim
RUN groupadd --gid 10001 metergate \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin metergate \
 && install -d -o 10001 -g 10001 /var/lib/metergate /srv/metergate

COPY pyproject.toml README.md LICENSE /src/
COPY gateway /src/gateway
COPY collectors /src/collectors
COPY config/rulepacks /src/config/rulepacks
COPY config/profiles /src/config/profiles
COPY config/grafana /src/config/grafana
COPY config/mosquitto/acl config/mosquitto/mosquitto.conf /src/config/mosquitto/
COPY config/devices/README.md /src/config/devices/README.md
COPY docker-compose.yml /src/docker-compose.yml
RUN pip install --no-cache-dir /src && rm -rf /src

# Healthy is what the gateway says of itself on the broker: `online` once it ingests, `offline` by its last will.
COPY <<'PY' /usr/local/lib/metergate/healthy.py
from paho.mqtt import subscribe

from gateway.app import settings_of

settings = settings_of(None)
broker = settings.broker
said = subscribe.simple(
    f"metergate/status/{settings.site}",
    hostname=broker.host,
    port=broker.port,
    auth={"username": broker.username, "password": broker.secret()} if broker.username else None,
    tls={"ca_certs": str(broker.ca_file) if broker.ca_file else None} if broker.tls else None,
)
raise SystemExit(said.payload != b"online")
PY

USER 10001:10001
WORKDIR /srv/metergate
ENV METERGATE_DATA_DIR=/var/lib/metergate PYTHONDONTWRITEBYTECODE=1
VOLUME /var/lib/metergate
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["python", "/usr/local/lib/metergate/healthy.py"]
ENTRYPOINT ["metergate"]
CMD ["run"]
