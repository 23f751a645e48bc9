"""Retrain Gemini models on Vertex AI from Apache Airflow.

The public names, and the modules to import them from. Everything else may change without notice.

===================================================  ==========================================
name                                                 module
===================================================  ==========================================
tuning_pipeline                                      vertex_tuning.pipeline
retraining_dags, rollback_dags, orphaned_jobs_dag,   vertex_tuning.dags
housekeeping_dag, check_tunings
TuningJobSensor                                      vertex_tuning.sensors
TuningJobTrigger                                     vertex_tuning.triggers
NewDataTrigger                                       vertex_tuning.new_data
UploadDatasetOperator                                vertex_tuning.operators.dataset
CreateTuningJobOperator, GetTuningJobOperator,       vertex_tuning.operators.tuning_job
ListTuningJobsOperator, CancelTuningJobOperator,
CancelUnfinishedJobsOperator,
CancelOrphanedJobsOperator
CollectMetricsOperator                               vertex_tuning.operators.metrics
PlanCandidatesOperator, SelectCandidateOperator      vertex_tuning.operators.sweep
SmokeTestOperator                                    vertex_tuning.operators.smoke_test
EvaluateModelOperator                                vertex_tuning.operators.evaluation
ApproveModelOperator, approval_task                  vertex_tuning.operators.approval
PromoteModelOperator, FindPreviousOperator,          vertex_tuning.operators.registry
RollbackOperator
HousekeepingOperator, DeleteCandidatesOperator       vertex_tuning.operators.housekeeping
WriteReportOperator, ShowOutcomeOperator             vertex_tuning.operators.report
NotifyOperator                                       vertex_tuning.operators.notification
overdue_alerts                                       vertex_tuning.notifications.overdue
Tuning, Schedule, Budget, SmokeTest, Promotion       vertex_tuning.config.tuning
HyperParameters, Sweep                               vertex_tuning.config.hyper_parameters
DatasetOptions, ColumnNames                          vertex_tuning.datasets.options
Notification                                         vertex_tuning.config.notify
load_tuning, load_tunings                            vertex_tuning.config.loader
GoogleConnection                                     vertex_tuning.hooks.connection
VertexTuningHook                                     vertex_tuning.hooks.genai
RegistryHook                                         vertex_tuning.hooks.model_registry
ExperimentsHook                                      vertex_tuning.hooks.experiments
StorageHook                                          vertex_tuning.hooks.storage
UploadResult, JobResult, SmokeResult, and the other  vertex_tuning.results
results of tasks
RunRecord                                            vertex_tuning.history.run_record
read_history, history_folder                         vertex_tuning.history.run_history
TuningError and its subclasses                       vertex_tuning.exceptions
===================================================  ==========================================

Folders: `config` (YAML file and form), `datasets`, `jobs`, `metrics`, `evaluation`, `registry`, `costs`, `report`,
`history` (the records of runs), `hooks` (what talks to Google), `operators`, `cli` (the command `vertex-tuning`),
`data` (dated facts about Google's offer).
"""
