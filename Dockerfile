# The image of all Airflow services: official Airflow with the project's requirements, the package, its DAGs and tunings.
# It runs from a registry as it is. docker-compose.yaml mounts dags/ and include/ over it, so that a changed tuning needs
# no new image; changed code of the package does.
FROM apache/airflow:3.3.2-python3.12

COPY requirements.txt constraints.txt /
RUN pip install --no-cache-dir -r /requirements.txt -c /constraints.txt

COPY --chown=airflow:root pyproject.toml README.md LICENSE NOTICE /opt/package/
COPY --chown=airflow:root plugins/vertex_tuning /opt/package/plugins/vertex_tuning
COPY --chown=airflow:root include/gcp_emulator /opt/package/include/gcp_emulator
RUN pip install --no-cache-dir --no-deps /opt/package /opt/package/include/gcp_emulator

COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root include /opt/airflow/include

# A new volume gets the owner of the folder that it is mounted on, else root.
RUN mkdir /opt/airflow/emulator
